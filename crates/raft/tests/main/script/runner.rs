//! Which verb is which function.

use std::collections::VecDeque;

use goldenscript::{Command, Context};
use ringfort_sim::group::Violation;

use super::args::{Args, Failure};
use super::world::World;
use super::{Setup, Storage, setup};

/// Commands whose output is kept for the message of a failure.
const TRAIL_MAX: usize = 12;

/// Executes the commands of one script.
pub(super) struct Runner {
    setup: Setup,
    world: Option<World>,
    /// Whether the script says itself how storage works.
    pub(super) says_storage: bool,
    /// The latest commands with their output, for whoever looks for the cause of a failure.
    pub(super) trail: VecDeque<String>,
    /// What the last verb failed for, if it did.
    pub(super) cause: Option<Cause>,
}

/// What a verb failed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Something that must always hold does not.
    Violation,
    /// Something that the script expects is not so.
    Expectation,
    /// The verb makes no sense here.
    Other,
}

impl Runner {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, world: None, says_storage: false, trail: VecDeque::new(), cause: None }
    }

    fn begin(&mut self, args: &mut Args) -> Result<(), Failure> {
        let (mut options, storage) = setup::parse(args)?;
        if let Some(guards) = self.setup.guards {
            options.guards = guards;
        }
        self.says_storage = storage.is_some();
        let storage = storage.or(self.setup.storage).unwrap_or(Storage::Sync);
        self.world = Some(World::new(options, storage, self.setup.loud)?);
        Ok(())
    }

    fn execute(&mut self, command: &Command) -> Result<(), Failure> {
        let mut args = Args::of(command);
        if command.name == "cluster" {
            self.begin(&mut args)?;
        }
        let world = self.world.as_mut().ok_or("a script begins with a cluster")?;
        if command.name != "cluster" {
            verb(&command.name)?(world, &mut args)?;
        }
        args.finish()?;
        world.end_verb()
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Failure> {
        let done = self.execute(command);
        let output = self.world.as_mut().map(World::take_output).unwrap_or_default();
        self.trail.push_back(format!("> {command}\n{output}"));
        if self.trail.len() > TRAIL_MAX {
            self.trail.pop_front();
        }
        self.cause = done.as_ref().err().map(|error| {
            if error.is::<Violation>() {
                Cause::Violation
            } else if command.name.starts_with("expect") {
                Cause::Expectation
            } else {
                Cause::Other
            }
        });
        done.map(|()| output)
    }
}

type Verb = fn(&mut World, &mut Args) -> Result<(), Failure>;

fn verb(name: &str) -> Result<Verb, Failure> {
    Ok(match name {
        "propose" => World::propose,
        "propose-conf" => World::propose_conf,
        "campaign" => World::campaign,
        "priority" => World::priority,
        "tick" => World::tick,
        "pass" => World::pass,
        "clock" => World::set_clock,
        "run" => World::run,
        "settle" => World::settle,
        "stabilize" => World::stabilize,
        "read" => World::read,
        "transfer" => World::transfer,
        "unreachable" => World::unreachable,
        "sleep" => World::sleep,
        "wake" => World::wake,
        "pair-heartbeat" => World::pair_heartbeat,
        "pair-ack" => World::pair_ack,
        "deliver" => World::deliver,
        "drop" => World::lose,
        "dup" => World::dup,
        "reorder" => World::reorder,
        "hold" => World::hold,
        "release" => World::release,
        "partition" => World::partition,
        "heal" => World::heal,
        "replay" => World::replay,
        "inject" => World::inject,
        "persist" => World::persist,
        "ack-persist" => World::ack_persist,
        "apply" => World::apply_some,
        "stall-disk" => World::stall_disk,
        "crash" => World::crash,
        "restart" => World::restart,
        "lose" => World::lose_entries,
        "wipe" => World::wipe,
        "compact" => World::compact,
        "snapshot" => World::snapshot,
        "status" => World::status,
        "log" => World::log,
        "expect" => World::expect,
        "expect-messages" => World::expect_messages,
        "expect-read" => World::expect_read,
        _ => return Err(format!("no verb is called {name}").into()),
    })
}
