//! The tables of `docs/museum.md`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::expect::Expect;
use crate::observation::{After, Fate, Observation, Others, Process, Recorded, Watched, Whose};
use crate::run::Seen;
use crate::{Results, Version};

/// What a document has before the table of an exhibit.
fn begin(exhibit: &str) -> String {
    format!("<!-- table: {exhibit} -->\n")
}

/// What it has after one.
const END: &str = "<!-- end -->";

/// The document with the exhibit's table in the place of the one it has.
///
/// # Errors
///
/// When the document has no place for it.
pub fn replace(document: &str, results: &Results) -> Result<String> {
    let begin = begin(&results.exhibit);
    let place = || format!("the document has no place for the table of {}", results.exhibit);
    let (before, rest) = document.split_once(&begin).with_context(place)?;
    let (_, after) = rest.split_once(END).with_context(place)?;
    Ok(format!("{before}{begin}{}{END}{after}", of_exhibit(results)))
}

fn of_exhibit(results: &Results) -> String {
    let Results { exhibit: _, versions, scenes } = results;
    let versions = versions.iter().map(|Version { package, version }| format!("{package} {version}"));
    let mut text = format!("\nPinned: {}.\n", versions.collect::<Vec<_>>().join(", "));
    for scene in scenes {
        // Formatting into a string does not fail.
        _ = write!(text, "\n**{}**\n\n{}", scene.title, of_scene(scene));
    }
    text + "\n"
}

/// One scene, a column for each setting. Of several rounds the worst is told.
#[must_use]
pub fn of_scene(seen: &Seen) -> String {
    let settings: Vec<(&Observation, &[Observation])> =
        seen.settings.iter().filter_map(|(_, rounds)| Some((worst(rounds)?, rounds.as_slice()))).collect();
    let line = |head: &str, cell: &dyn Fn(&Observation) -> String| {
        let cells: Vec<String> = settings.iter().map(|(seen, _)| cell(seen)).collect();
        format!("| {head} | {} |\n", cells.join(" | "))
    };
    let heads: Vec<String> = seen.settings.iter().map(|(setting, _)| setting.to_string()).collect();
    let mut text = format!("| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    text += &line("the offender", &|seen| offender(&seen.offender));
    text += &line("the others", &|seen| others(&seen.others));
    text += &line("the process", &|seen| process(&seen.process));
    text += &line("panics", &|seen| list(seen.panics.iter().map(|place| format!("`{place}`")).collect()));
    text += &line("recorded", &|seen| recorded(&seen.recorded));
    text += &line("left behind", &|seen| match seen.left_behind {
        None => "the server does not answer".to_owned(),
        Some(0) => "nothing".to_owned(),
        Some(sockets) => count(sockets, "socket"),
    });
    if settings.iter().any(|(_, rounds)| rounds.len() > 1) {
        let frozen =
            |rounds: &[Observation]| rounds.iter().filter(|it| Expect::OthersAreFrozen.holds(it)).count();
        let cells = settings.iter().map(|(_, rounds)| format!("{} of {}", frozen(rounds), rounds.len()));
        text += &format!(
            "| rounds in which all others were frozen | {} |\n",
            cells.collect::<Vec<_>>().join(" | ")
        );
    }
    text
}

/// The round in which the others fared worst.
fn worst(rounds: &[Observation]) -> Option<&Observation> {
    rounds.iter().max_by(|a, b| a.others.worst_ms.total_cmp(&b.others.worst_ms))
}

fn offender(fate: &Fate) -> String {
    let Watched { addresses: _, watched_ms, told, closed, joined, probes, echoes } = match fate {
        Fate::Left { addresses } => {
            return format!("{} left in good order", count(addresses.len(), "client"));
        }
        Fate::Watched(watched) => watched,
    };
    let told = match told {
        None => "told nothing".to_owned(),
        Some(told) => format!("told {} after {}", told.what, ms(told.ms)),
    };
    let seconds = watched_ms / 1000.0;
    let then = match closed {
        Some(closed) => format!("closed after {}", ms(closed.ms)),
        None if *probes > 0 && *echoes == 0 => {
            format!("open, and none of {probes} echoes came in the {seconds:.0} s it was watched")
        }
        None if *probes > 0 => format!("open, {echoes} of {probes} echoes came"),
        None if *joined => "let in".to_owned(),
        // A request over a connection of its own has ended with its answer.
        None if told.starts_with("told nothing") => {
            format!("waiting for all of the {seconds:.0} s it was watched")
        }
        None => return told,
    };
    format!("{told}, {then}")
}

fn others(others: &Others) -> String {
    let Others { clients, connected, disconnects, asked, lost, worst_ms } = others;
    let lost = if *lost == 0 {
        format!("all {asked} echoes came")
    } else {
        format!("{lost} of {asked} echoes lost")
    };
    let disconnects = if *disconnects == 0 { "no".to_owned() } else { disconnects.to_string() };
    let back = if connected < clients {
        format!(", {connected} of {clients} connected in the end")
    } else {
        String::new()
    };
    format!("{disconnects} disconnects, {lost}, longest wait {}{back}", ms(*worst_ms))
}

fn process(process: &Process) -> String {
    let Process { died, workers, back, last_words, spinning, grown_mib } = process;
    let words = last_words.as_ref().map(|words| format!(" (`{words}`)")).unwrap_or_default();
    if let Some(After { ms: after, what }) = workers.first() {
        let back = match back {
            Some(back) => format!("the next one served {} later", ms(*back)),
            None => "no other served after it".to_owned(),
        };
        let times =
            if workers.len() == 1 { String::new() } else { format!(", {} deaths in all", workers.len()) };
        return format!("worker **died** of {what}{words} after {}, {back}{times}", ms(*after));
    }
    match died {
        Some(After { ms: after, what }) => {
            format!("**died** of {what}{words} after {}; grown by {grown_mib:.0} MiB until then", ms(*after))
        }
        None if *spinning > 0 => {
            format!("alive, **{} spinning**, grown by {grown_mib:.0} MiB", count(*spinning, "thread"))
        }
        None => format!("alive, grown by {grown_mib:.0} MiB"),
    }
}

fn recorded(recorded: &[Recorded]) -> String {
    let mut faults: Vec<(String, usize)> = Vec::new();
    for Recorded { fault, location: _, attribution, whose, verdict } in recorded {
        let who = match whose {
            Whose::Nobodys => "nobody's",
            Whose::Offenders => "the offender's",
            Whose::Anothers => "**another client's**",
        };
        let what = format!("{fault}, {who} ({attribution}), verdict {verdict}");
        match faults.iter_mut().find(|(known, _)| *known == what) {
            Some((_, times)) => *times += 1,
            None => faults.push((what, 1)),
        }
    }
    let times = |(what, times): (String, usize)| if times == 1 { what } else { format!("{times} × {what}") };
    list(faults.into_iter().map(times).collect())
}

fn list(items: Vec<String>) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join("; ") }
}

fn count(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

/// Milliseconds as people say them.
fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let results = Results { exhibit: "x".into(), versions: Vec::new(), scenes: Vec::new() };
        let document =
            "before\n<!-- table: x -->\nold\n<!-- end -->\nafter\n<!-- table: y -->\n<!-- end -->\n";
        let new = replace(document, &results).expect("there is a place");
        assert!(new.starts_with("before\n<!-- table: x -->\n\nPinned") && !new.contains("old"), "{new}");
        assert!(new.ends_with("<!-- end -->\nafter\n<!-- table: y -->\n<!-- end -->\n"), "{new}");
        assert_eq!(replace(&new, &results).expect("there is a place"), new);
        assert!(replace("nothing", &results).is_err());
    }

    #[test]
    fn times_are_told_in_their_own_size() {
        assert_eq!([ms(1.23), ms(45.6), ms(3004.0)], ["1.2 ms", "46 ms", "3.0 s"]);
    }
}
