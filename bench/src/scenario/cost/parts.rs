//! Where the instructions of a message are: by the source files they were compiled from, also what is inlined elsewhere.

use std::collections::BTreeMap;

use crate::report::Table;

/// The functions of the system's allocator.
const ALLOCATOR: &str = "the system's allocator";
/// What they have in their names, in glibc and musl.
const ALLOCATES: [&str; 8] =
    ["malloc", "free", "calloc", "realloc", "memalign", "aligned_alloc", "unlink_chunk", "tcache"];
const LIBRARIES: &str = "the system's libraries";

/// How many parts are worth a row of their own.
const ROWS: usize = 14;

/// Instructions, by what they belong to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts(BTreeMap<String, f64>);

impl Parts {
    /// What valgrind's cachegrind has written: files, functions in them, and a line for each line of them.
    pub(super) fn read(output: &str) -> Self {
        let mut parts = BTreeMap::new();
        let allocator = ALLOCATOR.to_owned();
        let (mut file_part, mut part) = (String::new(), String::new());
        for line in output.lines() {
            if let Some(file) = line.strip_prefix("fl=") {
                file_part = part_of(file);
                part.clone_from(&file_part);
            } else if let Some(function) = line.strip_prefix("fn=") {
                let allocates =
                    file_part == LIBRARIES && ALLOCATES.iter().any(|name| function.contains(name));
                part.clone_from(if allocates { &allocator } else { &file_part });
            } else if let Some((Ok(_), Ok(count))) =
                line.split_once(' ').map(|(line, count)| (line.parse::<u64>(), count.trim().parse::<f64>()))
            {
                *parts.entry(part.clone()).or_default() += count;
            }
        }
        Self(parts)
    }

    /// Adds what a longer run has more than a shorter one, for each of `messages`.
    pub(super) fn add(&mut self, long: &Self, short: &Self, messages: f64) {
        for (part, count) in &long.0 {
            let before = short.0.get(part).copied().unwrap_or_default();
            *self.0.entry(part.clone()).or_default() += (count - before) / messages;
        }
    }

    /// What the system's allocator takes of it.
    pub(super) fn allocator(&self) -> f64 {
        self.of(ALLOCATOR)
    }

    fn of(&self, part: &str) -> f64 {
        self.0.get(part).copied().unwrap_or_default()
    }
}

/// What a guarded server has more than a bare one, of each part; of all rounds together.
pub(super) fn table(title: String, [bare, guarded]: [&Parts; 2], rounds: usize) -> Table {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rounds = rounds as f64;
    let names: std::collections::BTreeSet<&String> = bare.0.keys().chain(guarded.0.keys()).collect();
    let mut rows: Vec<(&str, f64, f64)> = names
        .into_iter()
        .map(|name| (name.as_str(), bare.of(name) / rounds, guarded.of(name) / rounds))
        .collect();
    let more = |row: &(&str, f64, f64)| row.2 - row.1;
    rows.sort_by(|a, b| more(b).abs().total_cmp(&more(a).abs()));
    let others = rows.split_off(rows.len().min(ROWS));
    rows.sort_by(|a, b| more(b).total_cmp(&more(a)));
    let (bare, guarded) = others.iter().fold((0.0, 0.0), |sum, row| (sum.0 + row.1, sum.1 + row.2));
    let mut table = Table::begin(title, 1, &["part                          ", "bare", "guarded", "more"]);
    for (name, bare, guarded) in rows.into_iter().chain([("everything else", bare, guarded)]) {
        table.row(vec![
            name.to_owned(),
            format!("{bare:.0}"),
            format!("{guarded:.0}"),
            format!("{:+.0}", guarded - bare),
        ]);
    }
    table
}

/// A file of ours is a part by itself; of others, a crate is.
fn part_of(file: &str) -> String {
    let file = file.replace('\\', "/");
    if let Some((_, ours)) = file.rsplit_once("crates/watertight")
        && let Some((name, path)) = ours.split_once("/src/")
    {
        return format!("watertight{name}: {}", path.trim_end_matches(".rs"));
    }
    if let Some((before, _)) = file.rsplit_once("/src/")
        && file.contains("/registry/")
        && let Some((name, _version)) = before.split('/').rev().find_map(crate_name)
    {
        return name.to_owned();
    }
    if file.contains("/library/") || file.starts_with("library/") {
        return "the standard library".to_owned();
    }
    if file.contains("bench/server/src/") {
        return "the handlers".to_owned();
    }
    LIBRARIES.to_owned()
}

/// `tokio-1.54.1` in its parts.
fn crate_name(folder: &str) -> Option<(&str, &str)> {
    folder.rsplit_once('-').filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "desc: ...\ncmd: server\nevents: Ir\nfl=/x/crates/watertight-axum/src/io.rs\nfn=read\n1 10\n\
        7 5\nfl=???\nfn=_int_malloc\n0 8\nfn=memcpy\n0 1\nfl=/home/u/.cargo/registry/src/a-b/tokio-1.54.1/src/x/mod.rs\nfn=poll\n3 4\nfl=???\nfn=???\n0 2\nsummary: 21\n";

    #[test]
    fn counts_by_file_and_crate() {
        let parts = Parts::read(OUTPUT);
        let expected = [("watertight-axum: io", 15.0), ("tokio", 4.0), ("the system's libraries", 3.0)];
        assert_eq!(parts.allocator(), 8.0);
        let expected = expected.into_iter().chain([(ALLOCATOR, 8.0)]);
        assert_eq!(parts, Parts(expected.map(|(part, count)| (part.to_owned(), count)).collect()));
    }

    #[test]
    fn each_message_is_what_a_longer_run_has_more() {
        let of = |count| Parts([("tokio".to_owned(), count)].into());
        let mut parts = Parts::default();
        parts.add(&of(500.0), &of(100.0), 200.0);
        parts.add(&of(700.0), &of(100.0), 200.0);
        assert_eq!(parts, of(5.0));
    }

    #[test]
    fn files_are_known_by_where_they_are() {
        for (file, part) in [
            ("/home/u/w/crates/watertight/src/guard/deadline.rs", "watertight: guard/deadline"),
            ("/rustc/59807616/library/core/src/ptr/mod.rs", "the standard library"),
            ("/r/registry/src/index/socketioxide-core-0.20.0/src/lib.rs", "socketioxide-core"),
            ("./malloc/malloc.c", "the system's libraries"),
            ("bench/server/src/handlers.rs", "the handlers"),
        ] {
            assert_eq!(part_of(file), part);
        }
    }
}
