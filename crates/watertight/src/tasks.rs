//! Tasks that are used again.
//!
//! Most handlers are done at their first poll, and to make a task for one, to enter it with the runtime and to take it apart takes
//! more than everything else that is done for it here: of an echo over WebSocket some 1,000 instructions, counted with callgrind on
//! x86-64. So a task that is done with its handler waits on its thread for the next one.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::runtime::{Handle, Id};
use tokio_util::sync::ReusableBoxFuture;

/// How many tasks wait on one thread. One is enough for handlers that do not wait; of more that do wait and are done at once, such as
/// those of one tick of a timer, the first so many spare the next making one. With [`LARGEST`] it bounds what a thread keeps to 32 KiB.
const WAITING: usize = 32;
/// The largest future that gets one, in bytes: the memory of the last one is kept while its task waits. Handlers of some
/// extractors and awaits have a few hundred.
const LARGEST: usize = 1024;

thread_local! {
    static IDLE: Idle = const { Idle(RefCell::new(Vec::new())) };
}

/// Like [`tokio::spawn`] without a handle, for what is mostly done at its first poll: it may run in a task that another has run in
/// before, on the runtime that the calling code runs in. Outside of any scope, unless `future` brings its own.
///
/// Up to 32 tasks wait for the next on each thread, and are among the runtime's `num_alive_tasks`; those of a runtime that has
/// ended let go of it when the thread ends or spawns again. The id of the task is that of others before and after. So
/// `future` should not read from or write to a [`Transport`](crate::Transport) that outlives it: a panic of what comes after it
/// would be traced there, unless it has a scope.
///
/// # Panics
///
/// Outside of a tokio runtime.
#[inline]
pub fn spawn_brief<F>(future: F)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let once = Once { future: Some(future) };
    if size_of::<F>() > LARGEST {
        return spawn_large(Box::pin(once));
    }
    let runtime = Handle::current();
    let task = Idle::take(runtime.id()).unwrap_or_else(|| Arc::new(Task::new(runtime.id())));
    task.future.lock().set(once);
    task.begin(runtime);
}

/// In a box, for the code of a task is compiled for each type that is spawned: nearly a fifth of all code of a server with many
/// handlers.
fn spawn_large(future: Pin<Box<dyn Future<Output = ()> + Send>>) {
    drop(tokio::spawn(future));
}

/// The tasks that wait on one thread.
struct Idle(RefCell<Vec<Arc<Task>>>);

impl Idle {
    /// A task of this runtime, the one that was used last.
    fn take(runtime: Id) -> Option<Arc<Task>> {
        let next = || IDLE.try_with(|idle| idle.0.borrow_mut().pop()).ok().flatten();
        loop {
            let task = next()?;
            // The id of a runtime that has ended may be another's.
            if task.is_over.load(Ordering::Relaxed) {
                continue;
            }
            if task.runtime == runtime {
                return Some(task);
            }
            // One thread runs several runtimes one after another, or one within another.
            task.end();
        }
    }

    /// Lets a task wait here. `false` when there are enough, or when the thread ends.
    fn keep(task: &Arc<Task>) -> bool {
        let kept = IDLE.try_with(|idle| {
            let mut waiting = idle.0.borrow_mut();
            let has_room = waiting.len() < WAITING;
            if has_room {
                waiting.push(Arc::clone(task));
            }
            has_room
        });
        kept.unwrap_or(false)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for task in self.0.get_mut().drain(..) {
            task.end();
        }
    }
}

/// A task as those see it who give it something to do: whoever takes it from where it waits has it alone, until it is done.
struct Task {
    future: Mutex<ReusableBoxFuture<'static, ()>>,
    /// Its own; known once it was polled, and so when it waits.
    waker: OnceLock<Waker>,
    /// It has ended, or is not to wait any longer.
    is_over: AtomicBool,
    runtime: Id,
}

impl Task {
    /// One that has nothing to do yet and that no runtime knows.
    fn new(runtime: Id) -> Self {
        let future = Mutex::new(ReusableBoxFuture::new(pending()));
        Self { future, waker: OnceLock::new(), is_over: AtomicBool::new(false), runtime }
    }

    /// Runs what has been put into it.
    fn begin(self: Arc<Self>, runtime: Handle) {
        match self.waker.get() {
            Some(waker) => waker.wake_by_ref(),
            None => drop(runtime.spawn(Work(self))),
        }
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// What the runtime runs. Ends when there is no room to wait.
struct Work(Arc<Task>);

impl Future for Work {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = &self.0;
        if task.is_over.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        // Nobody else asks for it meanwhile.
        ready!(task.future.lock().poll(cx));
        task.waker.get_or_init(|| cx.waker().clone());
        if Idle::keep(task) { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        // Here, where the runtime catches its panics, and not where somebody still looks at the task.
        if let Some(mut future) = self.0.future.try_lock() {
            *future = ReusableBoxFuture::new(pending());
        }
    }
}

pin_project! {
    /// A future that is dropped when it is done, and is pending from then on: wakers of what was done before may still be called.
    struct Once<F> {
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Future for Once<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let output = ready!(future.poll(cx));
        this.future.set(None);
        drop(output);
        Poll::Ready(())
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::{id, yield_now};
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    fn workers(threads: usize) -> Runtime {
        Builder::new_multi_thread().worker_threads(threads).enable_time().build().expect("a runtime")
    }

    /// The task that a future which is done at once runs in.
    async fn task_of_next() -> tokio::task::Id {
        let (tell, told) = oneshot::channel();
        spawn_brief(async { tell.send(id()).expect("somebody waits") });
        let task = timeout(DEADLINE, told).await.expect("in time").expect("it ran");
        // It is told before it is done.
        yield_now().await;
        task
    }

    async fn until_alive(tasks: usize) {
        let metrics = Handle::current().metrics();
        let wait = async {
            while metrics.num_alive_tasks() != tasks {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let alive = || metrics.num_alive_tasks();
        timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{} tasks instead of {tasks}", alive()));
    }

    #[test]
    fn one_task_runs_one_after_another() {
        runtime().block_on(async {
            let first = task_of_next().await;
            for _ in 0..5 {
                assert_eq!(task_of_next().await, first);
            }
            // Of another size, too.
            let (tell, told) = oneshot::channel();
            let large = [1_u8; 600];
            spawn_brief(async move {
                yield_now().await;
                tell.send((id(), large.len())).expect("somebody waits");
            });
            assert_eq!(told.await, Ok((first, 600)));
        });
    }

    /// Would reveal one that waits for another to be done.
    #[test]
    fn those_that_wait_run_beside_each_other() {
        runtime().block_on(async {
            let (goes, mut all) = mpsc::channel(1);
            let mut gates = Vec::new();
            for number in 0..100 {
                let ((open, opened), goes) = (oneshot::channel::<()>(), goes.clone());
                gates.push(open);
                spawn_brief(async move {
                    opened.await.expect("it is opened");
                    goes.send(number).await.expect("somebody counts");
                });
            }
            drop(goes);
            for open in gates.into_iter().rev() {
                open.send(()).expect("it waits");
            }
            let mut numbers = Vec::new();
            while let Some(number) = timeout(DEADLINE, all.recv()).await.expect("in time") {
                numbers.push(number);
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..100).collect::<Vec<_>>());
            // Of the hundred tasks those are kept that there is room for.
            until_alive(WAITING).await;
        });
    }

    #[test]
    fn what_is_done_holds_nothing_and_its_waker_wakes_nothing() {
        runtime().block_on(async {
            let held = Arc::new(());
            let kept = Arc::clone(&held);
            let (tell, told) = oneshot::channel();
            let mut tell = Some(tell);
            spawn_brief(std::future::poll_fn(move |cx| {
                let tell = tell.take().expect("it is polled once");
                tell.send((Arc::clone(&kept), cx.waker().clone())).expect("somebody waits");
                Poll::Ready(())
            }));
            let (kept, waker) = told.await.expect("it ran");
            yield_now().await;
            drop(kept);
            assert_eq!(Arc::strong_count(&held), 1);

            waker.wake();
            yield_now().await;
            let (goes, mut all) = mpsc::channel(2);
            for number in 0..2 {
                let goes = goes.clone();
                spawn_brief(async move { goes.send(number).await.expect("somebody counts") });
            }
            drop(goes);
            let mut count = 0;
            while timeout(DEADLINE, all.recv()).await.expect("in time").is_some() {
                count += 1;
            }
            assert_eq!(count, 2);
        });
    }

    #[test]
    fn one_that_panics_costs_its_task_alone() {
        runtime().block_on(async {
            let first = task_of_next().await;
            spawn_brief(async { panic!("expected by this test") });
            until_alive(0).await;
            assert_ne!(task_of_next().await, first);
            let after = task_of_next().await;
            assert_eq!(task_of_next().await, after);
        });
    }

    #[test]
    fn what_is_large_has_a_task_of_its_own() {
        runtime().block_on(async {
            let large = [0_u8; LARGEST + 1];
            spawn_brief(async move {
                yield_now().await;
                assert_eq!(large.len(), LARGEST + 1);
            });
            until_alive(1).await;
            until_alive(0).await;
        });
    }

    /// Would reveal what is given to a task of a runtime that nobody runs any more, or that runs no longer.
    #[test]
    fn every_runtime_of_a_thread_has_its_own() {
        let (one, other) = (runtime(), runtime());
        let first = one.block_on(task_of_next());
        let second = other.block_on(task_of_next());
        assert_ne!(first, second);
        assert_eq!(other.block_on(task_of_next()), second);
        one.block_on(async {
            until_alive(0).await;
            task_of_next().await;
        });
        drop(one);
        other.block_on(async {
            task_of_next().await;
            spawn_brief(pending::<()>());
        });
        drop(other);
        runtime().block_on(task_of_next());
    }

    #[test]
    fn a_task_that_has_ended_is_given_nothing() {
        runtime().block_on(async {
            let runtime = Handle::current().id();
            let held = Arc::new(());
            let kept = Arc::clone(&held);
            let task = Arc::new(Task::new(runtime));
            task.future.lock().set(async move {
                pending::<()>().await;
                drop(kept);
            });
            drop(Work(Arc::clone(&task)));
            assert_eq!(Arc::strong_count(&held), 1, "what it was to do is dropped with it");
            assert!(Idle::keep(&task));
            assert!(Idle::take(runtime).is_none());
        });
    }

    #[test]
    fn tasks_that_wait_on_a_thread_end_with_it() {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).enable_time().thread_keep_alive(Duration::from_millis(1));
        builder.build().expect("a runtime").block_on(async {
            let work = tokio::spawn(async {
                let (tell, told) = oneshot::channel();
                task_of_next().await;
                // Another thread takes the place of this one, which is not needed any more when it is done.
                tokio::spawn(async { tell.send(()) });
                tokio::task::block_in_place(|| told.blocking_recv())
            });
            assert_eq!(timeout(DEADLINE, work).await.expect("in time").expect("no panic"), Ok(()));
            until_alive(0).await;
        });
    }

    #[test]
    fn threads_that_wake_each_other_lose_none() {
        const TASKS: usize = 20_000;
        let runtime = workers(4);
        runtime.block_on(async {
            let (tell, mut told) = mpsc::unbounded_channel();
            for start in 0..8 {
                let tell = tell.clone();
                tokio::spawn(async move {
                    for number in 0..TASKS {
                        let tell = tell.clone();
                        spawn_brief(async move {
                            if number % 3 == start % 3 {
                                yield_now().await;
                            }
                            tell.send(()).expect("somebody counts");
                        });
                        if number % 16 == 0 {
                            yield_now().await;
                        }
                    }
                });
            }
            drop(tell);
            let mut count = 0;
            while timeout(DEADLINE, told.recv()).await.expect("in time").is_some() {
                count += 1;
            }
            assert_eq!(count, 8 * TASKS);
            let alive = Handle::current().metrics().num_alive_tasks();
            // On each thread one may just be done, and there is this one.
            assert!(alive <= 4 * (WAITING + 1) + 1, "{alive}");
        });
    }
}
