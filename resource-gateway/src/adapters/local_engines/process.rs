//! Programs that are run for calls: how many at once, for how long, with how much memory, and that none of them stays behind.
//!
//! No shell is asked and no word of a caller's stands on a command line: a program is its path, its arguments are ours, and what the
//! caller sent goes in by its standard input.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use rustix::{
    fs::{Access, access},
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit, setpriority_process},
};
use service_kit::Tasks;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// What a program says of its troubles is kept up to here, for the operator's log.
const MAX_COMPLAINT_BYTES: usize = 300;
/// Calls have the processor first: an engine that computes must not keep the gateway from answering others.
const NICENESS: i32 = 10;
/// Pipes, models and little more.
const MAX_FILES: u64 = 64;

/// How much of the machine one engine may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Processes at once.
    pub processes: usize,
    /// Calls that may wait for one of them to end; whoever comes beyond is turned away at once.
    pub waiting: usize,
    /// How long they wait.
    pub patience: Duration,
    /// Bytes of memory of one process, all that it maps included.
    pub memory: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        let processes = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            processes,
            waiting: processes * 8,
            patience: Duration::from_secs(10),
            memory: 1024 * 1024 * 1024,
        }
    }
}

/// A program, and what it needs beside its input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) environment: &'static [(&'static str, &'static str)],
    /// The size of a file that it may write.
    pub(super) most_file: u64,
}

impl Program {
    /// One that needs nothing and writes nothing.
    pub(super) const fn plain(name: &'static str) -> Self {
        Self {
            name,
            environment: &[],
            most_file: 0,
        }
    }
}

/// A program, found anew for each call so that one that is installed later is there without a restart.
#[derive(Debug)]
pub(super) struct Engine {
    program: Program,
    search_path: Arc<[PathBuf]>,
    bounds: Bounds,
    running: Arc<Semaphore>,
    /// Those who run and those who wait.
    places: Arc<Semaphore>,
    /// Every process has a task that ends with it and not with its caller.
    tasks: Tasks,
}

/// A place, and the turn to run. Others have them when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _held: [OwnedSemaphorePermit; 2],
}

/// One run.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) arguments: Vec<String>,
    pub(super) input: Bytes,
    /// More output than that is no answer.
    pub(super) most_output: usize,
    /// When it has to be over.
    pub(super) until: Instant,
}

/// Why a run came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The program is not on the path.
    Missing(&'static str),
    Busy,
    TimedOut,
    /// It wrote more than it was allowed to.
    TooMuch,
    /// It could not do it, or died: by one of its caps, for instance.
    Failed,
}

/// The directories of `PATH`. Relative ones mean another place wherever the gateway was started, so they are left out.
pub(super) fn search_path(path: Option<OsString>) -> Arc<[PathBuf]> {
    let path = path.unwrap_or_default();
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect()
}

impl Engine {
    pub(super) fn new(program: Program, search_path: Arc<[PathBuf]>, bounds: Bounds) -> Self {
        Self {
            program,
            search_path,
            bounds,
            running: Arc::new(Semaphore::new(bounds.processes)),
            places: Arc::new(Semaphore::new(bounds.processes + bounds.waiting)),
            tasks: Tasks::default(),
        }
    }

    /// Where the program lies.
    pub(super) fn find(&self) -> Result<PathBuf, Trouble> {
        let mut places = self.search_path.iter().map(|dir| dir.join(self.program.name));
        let found = places.find(|place| place.is_file() && access(place, Access::EXEC_OK).is_ok());
        found.ok_or(Trouble::Missing(self.program.name))
    }

    /// Waits for a turn. Who has much to read for a run takes it before: what is read takes room as well.
    pub(super) async fn turn(&self, until: Instant) -> Result<Turn, Trouble> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Trouble::Busy)?;
        let patience = (Instant::now() + self.bounds.patience).min(until);
        let turn = timeout_at(patience, Arc::clone(&self.running).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(Trouble::Busy)?;
        Ok(Turn { _held: [place, turn] })
    }

    /// Runs the program and returns what it wrote. Dropping the future ends the process.
    pub(super) async fn run(&self, errand: Errand) -> Result<Vec<u8>, Trouble> {
        self.find()?;
        let turn = self.turn(errand.until).await?;
        self.run_in(turn, errand).await
    }

    /// The same for who has a turn.
    pub(super) async fn run_in(&self, turn: Turn, errand: Errand) -> Result<Vec<u8>, Trouble> {
        let program = self.find()?;
        let child = self.start(&program, &errand)?;
        let (gone, done) = (CancellationToken::new(), oneshot::channel());
        let (tell, told) = done;
        let caller = gone.clone().drop_guard();
        let run = Run {
            program: self.program.name,
            child,
            errand,
            gone,
            _turn: turn,
        };
        self.tasks.spawn(async move {
            let outcome = run.tend().await;
            // Nobody listens any more if the caller has left.
            let _ = tell.send(outcome);
        });
        let outcome = told.await.unwrap_or(Err(Trouble::Failed));
        drop(caller);
        outcome
    }

    fn start(&self, program: &Path, errand: &Errand) -> Result<Child, Trouble> {
        let mut command = Command::new(program);
        command
            .args(&errand.arguments)
            // Nothing of the gateway's own: it may hold its secrets.
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .envs(self.program.environment.iter().copied())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal for the gateway's terminal is none for it, and it ends with all that it may have started.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            tracing::warn!(engine.program = self.program.name, %error, "a program could not be started");
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Trouble::Missing(self.program.name),
                // Most likely there are no more processes, or no memory for another one.
                _ => Trouble::Busy,
            }
        })?;
        // Before it gets a byte of its input.
        if let Err(error) = confine(&child, self.bounds.memory, self.program.most_file, errand.until) {
            tracing::error!(engine.program = self.program.name, %error, "a program could not be confined");
            // It dies with its handle, and tokio sees to its remains.
            let _ = child.start_kill();
            return Err(Trouble::Failed);
        }
        Ok(child)
    }
}

/// Sets the caps of a process that has read nothing yet.
fn confine(child: &Child, memory: u64, most_file: u64, until: Instant) -> io::Result<()> {
    let Some(pid) = pid_of(child) else { return Ok(()) };
    // It computes on one thread, so that this is reached only if nobody is left to end it.
    let seconds = until.saturating_duration_since(Instant::now()).as_secs() + 2;
    for (resource, most) in [
        (Resource::As, memory),
        (Resource::Cpu, seconds),
        (Resource::Fsize, most_file),
        (Resource::Core, 0),
        (Resource::Nofile, MAX_FILES),
    ] {
        // Nobody may raise what the operator has set already.
        let most = getrlimit(resource).maximum.map_or(most, |ours| ours.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        match prlimit(Some(pid), resource, limit) {
            // Over already.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A wish: without it the engine is only less polite.
    let _ = setpriority_process(Some(pid), NICENESS);
    Ok(())
}

/// `None` when the process has been waited for: then its number may be another's.
fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
}

/// A process, and what it holds until it is gone.
struct Run {
    program: &'static str,
    child: Child,
    errand: Errand,
    /// Cancelled when the caller leaves.
    gone: CancellationToken,
    _turn: Turn,
}

/// What a process left behind.
struct Left {
    status: ExitStatus,
    output: Vec<u8>,
    complaint: Vec<u8>,
}

impl Run {
    async fn tend(mut self) -> Result<Vec<u8>, Trouble> {
        let until = self.errand.until;
        let outcome = tokio::select! {
            left = talk(&mut self.child, &self.errand) => left,
            () = sleep_until(until) => Err(Trouble::TimedOut),
            () = self.gone.cancelled() => Err(Trouble::TimedOut),
        };
        let left = match outcome {
            Ok(left) => left,
            Err(trouble) => {
                self.end().await;
                return Err(trouble);
            }
        };
        if left.status.success() {
            return Ok(left.output);
        }
        // It tells of formats and models; the words of texts and pictures are not in it.
        tracing::warn!(engine.program = self.program, engine.status = %left.status, said = printable(&left.complaint), "an engine failed");
        Err(Trouble::Failed)
    }

    /// Kills the process and what it started, and waits until it is gone.
    async fn end(&mut self) {
        if let Some(pid) = pid_of(&self.child) {
            // Its number is its own until it is waited for, which happens below.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.kill().await;
    }
}

async fn talk(child: &mut Child, errand: &Errand) -> Result<Left, Trouble> {
    let (input, output, complaint) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut input) = input {
            // Who has seen enough need not read the rest.
            let _ = input.write_all(&errand.input).await;
        }
        Ok(())
    };
    let listen = async {
        let output = read_some(output, errand.most_output.saturating_add(1)).await;
        match output.len() > errand.most_output {
            true => Err(Trouble::TooMuch),
            false => Ok(output),
        }
    };
    let mind = async { Ok(read_some_of(complaint, MAX_COMPLAINT_BYTES).await) };
    let ((), output, complaint) = tokio::try_join!(feed, listen, mind)?;
    let status = child.wait().await.map_err(|_| Trouble::Failed)?;
    Ok(Left {
        status,
        output,
        complaint,
    })
}

/// The first bytes; then the pipe is closed.
async fn read_some(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut some = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(most as u64).read_to_end(&mut some).await;
    }
    some
}

/// The first bytes, of all that comes: the writer is not stopped by a pipe that is full or closed.
async fn read_some_of(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut some = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(most as u64).read_to_end(&mut some).await;
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    some
}

fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What an engine says about itself, kept. It is asked again when something is looked for that was not there, but not all the time;
/// who looks for what is there does not wait for that.
#[derive(Debug)]
pub(super) struct Known<T> {
    said: ArcSwapOption<T>,
    /// When it was asked last, and what came of it. One asks at a time.
    asked: tokio::sync::Mutex<Option<(Instant, Result<(), Trouble>)>>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            said: ArcSwapOption::empty(),
            asked: tokio::sync::Mutex::new(None),
        }
    }
}

impl<T> Known<T> {
    const ASK_AGAIN: Duration = Duration::from_secs(10);

    /// As if it had been asked long ago.
    #[cfg(test)]
    pub(super) async fn forget_when(&self) {
        *self.asked.lock().await = None;
    }

    pub(super) async fn with(
        &self,
        has: impl Fn(&T) -> bool,
        ask: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<Arc<T>, Trouble> {
        if let Some(known) = self.said.load_full().filter(|known| has(known)) {
            return Ok(known);
        }
        let mut asked = self.asked.lock().await;
        // Whoever asked meanwhile may have learned of it.
        if let Some(known) = self.said.load_full() {
            match *asked {
                _ if has(&known) => return Ok(known),
                Some((at, outcome)) if at.elapsed() < Self::ASK_AGAIN => return outcome.map(|()| known),
                _ => {}
            }
        }
        let fresh = ask.await;
        *asked = Some((Instant::now(), fresh.as_ref().map(drop).map_err(|trouble| *trouble)));
        let fresh = Arc::new(fresh?);
        self.said.store(Some(Arc::clone(&fresh)));
        Ok(fresh)
    }
}
