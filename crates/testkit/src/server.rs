//! A real server process with a data directory of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::http::HttpClient;
use crate::process::{Process, Signal};
use crate::{Random, Shim, ShimOptions, ShimStats, binary, free_ports, wait_until};

/// Debug builds replay slowly, and the machine may be shared.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const PORT_ATTEMPTS: usize = 5;

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    binary: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    peer_port: Option<u16>,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    shim: Option<ShimOptions>,
    wrapper: Vec<OsString>,
}

impl ServerOptions {
    /// The executable of this workspace, a temporary data directory, default settings, nothing in between.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another executable.
    #[must_use]
    pub fn binary(mut self, path: PathBuf) -> Self {
        self.binary = Some(path);
        self
    }

    /// A data directory that exists, and stays.
    #[must_use]
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data_dir = Some(path.to_owned());
        self
    }

    /// Listens for other nodes on this port, which may be that of another server which is down.
    #[must_use]
    pub fn peer_port(mut self, port: u16) -> Self {
        self.peer_port = Some(port);
        self
    }

    /// A setting, as `--set key=value`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(other, _)| other != key);
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Runs it under the preload shim.
    #[must_use]
    pub fn shim(mut self, options: ShimOptions) -> Self {
        self.shim = Some(options);
        self
    }

    /// Runs it under another command, such as `strace -f`, given with its arguments.
    #[must_use]
    pub fn under(mut self, wrapper: &[OsString]) -> Self {
        self.wrapper = wrapper.to_vec();
        self
    }

    /// Starts a server and awaits that it is ready.
    ///
    /// # Errors
    /// It cannot be started, ends, or is not ready by the deadline; the message holds the end of its log.
    pub fn start(self) -> Result<Server> {
        let mut server = self.prepare()?;
        for _ in 1..PORT_ATTEMPTS {
            match server.launch() {
                Err(error) if format!("{error:#}").contains("in use") => server.take_ports()?,
                result => return result.map(|()| server),
            }
        }
        server.launch()?;
        Ok(server)
    }

    /// Makes the directories of a server without starting it.
    ///
    /// # Errors
    /// They cannot be made, or the executable cannot be built.
    pub fn prepare(self) -> Result<Server> {
        let binary = match &self.binary {
            Some(path) => path.clone(),
            None => binary::ringfort()?,
        };
        let home = tempfile::Builder::new().prefix("ringfort-test-").tempdir()?;
        let data_dir = match &self.data_dir {
            Some(path) => path.clone(),
            None => home.path().join("data"),
        };
        std::fs::create_dir_all(&data_dir)?;
        let shim = match self.shim {
            Some(_) => Some(Shim::new(&data_dir, home.path())?),
            None => None,
        };
        let mut server = Server {
            options: self,
            binary,
            data_dir,
            shim,
            names_lost: 0,
            ports: [0; 2],
            process: None,
            home,
        };
        server.take_ports()?;
        Ok(server)
    }
}

/// A server process. Dropping it kills the process and removes its directory.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    binary: PathBuf,
    data_dir: PathBuf,
    shim: Option<Shim>,
    names_lost: usize,
    /// Of clients and of peers.
    ports: [u16; 2],
    // Dropped in this order: first the process, then its directory.
    process: Option<Process>,
    home: TempDir,
}

impl Server {
    fn take_ports(&mut self) -> Result<()> {
        self.ports = free_ports(2)?.try_into().ok().context("two ports")?;
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut line = self.options.wrapper.clone();
        line.push(self.binary.clone().into());
        let mut words = line.into_iter();
        let mut command = Command::new(words.next().context("no command")?);
        command.args(words).arg("server");
        let data_dir = self.data_dir.to_str().context("a path that is no text")?;
        let own = [
            ("node.data_dir", data_dir.to_owned()),
            ("listen.client", format!("127.0.0.1:{}", self.ports[0])),
            ("listen.peer", format!("127.0.0.1:{}", self.peer_port())),
        ];
        let given = self.options.settings.iter();
        let given = given.map(|(key, value)| (key.as_str(), value.clone()));
        for (key, value) in own.into_iter().chain(given) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // Nothing that stands in the environment of whoever runs the tests may reach the server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RINGFORT_") {
                command.env_remove(name);
            }
        }
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        if let (Some(shim), Some(options)) = (&self.shim, &self.options.shim) {
            shim.apply(&mut command, options)?;
        }
        Ok(command)
    }

    /// Starts the process and awaits that it is ready.
    fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        self.await_ready()
    }

    /// Starts the process without awaiting anything.
    ///
    /// # Errors
    /// It cannot be started, or runs already.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the server runs already");
        let log = self.home.path().join("server.log");
        self.lose_names()?;
        self.process = Some(Process::start(self.command()?, &log)?);
        Ok(())
    }

    /// Under the shim, the end of a process is a power loss: of the names that no sync covered, all go, or all but the
    /// first few.
    fn lose_names(&mut self) -> Result<()> {
        let Some(shim) = &self.shim else {
            return Ok(());
        };
        let seed = self.options.shim.as_ref().map_or(0, |shim| shim.seed);
        let mut random = Random::new(seed);
        self.names_lost += shim.lose_names(|all| match random.percent(50) {
            true => 0,
            false => usize::try_from(random.below(all as u64 + 1)).unwrap_or(all),
        })?;
        Ok(())
    }

    /// Awaits that the server says it is ready.
    ///
    /// # Errors
    /// It ends first, or does not say so by the deadline.
    pub fn await_ready(&mut self) -> Result<()> {
        let mut client = self.client().with_timeout(Duration::from_secs(5));
        let what = format!("the server on port {} to be ready", self.port());
        let result = wait_until(&what, READY_DEADLINE, || {
            if let Some(status) = self.process()?.poll()? {
                bail!("the server ended with {status} before it was ready");
            }
            let ready = client.get("/readyz").is_ok_and(|response| response.status == 200);
            Ok(ready.then_some(()))
        });
        let Err(error) = result else {
            return Ok(());
        };
        let log = self.process()?.log_tail();
        // Not started: whoever starts it again gets a new process.
        self.process = None;
        Err(error.context(format!("the end of its log:\n{log}")))
    }

    fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the server does not run")
    }

    /// The port of its client API.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The port on which other nodes reach it.
    #[must_use]
    pub fn peer_port(&self) -> u16 {
        self.options.peer_port.unwrap_or(self.ports[1])
    }

    /// Its process id; under a wrapper, the wrapper's.
    ///
    /// # Errors
    /// It does not run.
    pub fn id(&self) -> Result<u32> {
        let process = self.process.as_ref().context("the server does not run")?;
        Ok(process.id())
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory that goes with the server, for what a test needs besides.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> HttpClient {
        HttpClient::new(self.port())
    }

    /// Everything it has logged, over all its starts.
    #[must_use]
    pub fn log_text(&self) -> String {
        let bytes = std::fs::read(self.home.path().join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run, or had ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.process()?.poll()? {
            let log = self.process()?.log_tail();
            bail!("the server had ended by itself with {status}:\n{log}");
        }
        self.process()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// SIGTERM, and how it ends.
    ///
    /// # Errors
    /// It does not run, or does not end by the deadline.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process()?.signal(Signal::TERM)?;
        self.wait()
    }

    /// Awaits that it ends by itself.
    ///
    /// # Errors
    /// It does not run, or does not end by the deadline.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let process = self.process()?;
        let status = process.wait(STOP_DEADLINE);
        let status =
            status.with_context(|| format!("the end of its log:\n{}", process.log_tail()))?;
        self.process = None;
        Ok(status)
    }

    /// SIGSTOP: it neither runs nor answers, and its connections stay.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&mut self) -> Result<()> {
        self.process()?.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&mut self) -> Result<()> {
        self.process()?.signal(Signal::CONT)
    }

    /// Any other signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process()?.signal(signal)
    }

    /// Starts it again after it has ended: same ports, same data.
    ///
    /// # Errors
    /// It runs, or does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.launch()
    }

    /// Starts it again after it has ended, with options changed. The data directory stays.
    ///
    /// # Errors
    /// It runs, or does not become ready.
    pub fn restart_with(
        &mut self,
        change: impl FnOnce(ServerOptions) -> ServerOptions,
    ) -> Result<()> {
        self.options = change(std::mem::take(&mut self.options));
        if let (None, Some(_)) = (&self.shim, &self.options.shim) {
            self.shim = Some(Shim::new(&self.data_dir, self.home.path())?);
        }
        self.launch()
    }

    /// Creates, renames and deletions of files that were lost at the ends of processes under the shim.
    #[must_use]
    pub fn names_lost(&self) -> usize {
        self.names_lost
    }

    /// Changes the options of the next start.
    pub fn set_options(&mut self, change: impl FnOnce(ServerOptions) -> ServerOptions) {
        self.options = change(std::mem::take(&mut self.options));
    }

    /// Lets those syncs go on that the shim holds now; returns whether there was one.
    ///
    /// # Errors
    /// See [`Shim::let_syncs_go`].
    pub fn let_syncs_go(&self) -> Result<bool> {
        self.shim.as_ref().context("no shim")?.let_syncs_go()
    }

    /// Lets every sync go on that the shim holds, now and later.
    ///
    /// # Errors
    /// See [`Shim::release_syncs`].
    pub fn release_syncs(&mut self) -> Result<()> {
        self.shim.as_mut().context("no shim")?.release_syncs()
    }

    /// What the shim saw since the last start, also after the process has gone.
    ///
    /// # Errors
    /// There is no shim, or it was not at work.
    pub fn shim_stats(&self) -> Result<ShimStats> {
        self.shim.as_ref().context("no shim")?.stats()
    }
}
