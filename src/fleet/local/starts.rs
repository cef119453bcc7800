//! How a run is started: what it needs is found, its directory made, and its launcher spawned.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{fs, io};

use anyhow::{Context, Result};

use super::LocalFleet;
use crate::config::{OWN_VARIABLES, prompt};
use crate::durable::atomic;
use crate::model::{FailureClass, Launch, RunPreview, StartOutcome};
use crate::run::directory::{PROMPT, RunDir, SPEC, sealed};
use crate::run::env::{self, Vars};
use crate::run::env_file::FileVars;
use crate::run::hooks::{self, RunHooks};
use crate::run::program;
use crate::run::spec::Terminal;
use crate::run::spec::{Spec, marker};
use crate::workspace;

/// What one run is started with.
pub(crate) struct StartInputs {
    program: PathBuf,
    hooks: RunHooks,
    done: Vec<String>,
    pub(crate) vars: Vars,
}

impl LocalFleet {
    /// What a run is started with, as far as it can be had; the error is for people.
    pub(crate) fn means(&self, launch: &Launch) -> Result<StartInputs, StartOutcome> {
        let cannot = |class, error| {
            let error = format!("role {:?} cannot start: {error}", launch.spec.role);
            StartOutcome::NotStarted { class, error }
        };
        // Since the tick looked for it, it was taken away: the next one will say so.
        let file = env::of_file(&self.env).map_err(|error| cannot(FailureClass::Infra, error))?;
        let vars = self.vars(launch, &file);
        let workspace = self.workspaces.join(&launch.snapshot.workspace);
        let grace = self.settings.grace;
        let found = program::find(&launch.argv[0], vars.get(OsStr::new("PATH"))).and_then(|program| {
            let hooks = RunHooks::of_run(&self.hooks, grace, &launch.spec.id, &workspace, &vars)?;
            let run = launch.spec.id.to_string();
            let done = hooks::resolve("[done] command", &self.done, Some(&run), &workspace, &vars)?;
            Ok((program, hooks, done))
        });
        // It was there when the tick looked: the next tick finds it missing, and its role cools off.
        let (program, hooks, done) = found.map_err(|error| cannot(FailureClass::Infra, error))?;
        Ok(StartInputs { program, hooks, done, vars })
    }

    /// Makes the directory of a run, with all that its launcher needs. `terminal`: what becomes of the one that it will be
    /// started in, if any.
    pub(crate) fn prepare(
        &self,
        launch: &Launch,
        means: &StartInputs,
        terminal: Option<Terminal>,
    ) -> Result<RunDir> {
        let dir = self.run_dir(&launch.spec.id);
        let path = dir.path().display().to_string();
        // Must be new: a run is never started twice.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(dir.path())
            .with_context(|| format!("cannot create {path}"))?;
        let files = atomic::open_dir(dir.path()).with_context(|| format!("cannot open {path}"))?;
        let spec = sealed(&self.spec(launch, means, terminal)?)?;
        atomic::replace(&files, PROMPT, launch.prompt.as_bytes(), false)
            .with_context(|| format!("cannot write {path}/{PROMPT}"))?;
        atomic::replace(&files, SPEC, &spec, false).with_context(|| format!("cannot write {path}/{SPEC}"))?;
        Ok(dir)
    }

    /// Program and arguments with nothing left to replace, as they are configured.
    fn argv(&self, launch: &Launch) -> Vec<String> {
        let workspace = self.workspaces.join(&launch.snapshot.workspace);
        prompt::fill(
            &launch.argv,
            launch.spec.session.as_deref(),
            Some(&launch.spec.id.to_string()),
            Some(&workspace.to_string_lossy()),
            Some(&self.run_dir(&launch.spec.id).file(PROMPT).to_string_lossy()),
        )
    }

    /// The environment of an agent. `file`: the variables of the file for every agent.
    fn vars(&self, launch: &Launch, file: &FileVars) -> Vars {
        let mut vars = env::of_role(&self.inherited, &self.env, file, &launch.env);
        env::of_preset(&mut vars, &launch.spec.harness);
        vars
    }

    pub(super) fn preview_of(&self, launch: &Launch) -> RunPreview {
        let cwd = self.workspaces.join(&launch.snapshot.workspace).to_string_lossy().into_owned();
        // Where the file can't be read, nothing starts, and the gates say so.
        let vars = self.vars(launch, &env::of_file(&self.env).unwrap_or_default());
        let names = vars.keys().map(|name| name.to_string_lossy().into_owned());
        let mut env: Vec<_> = names.chain(OWN_VARIABLES.map(str::to_owned)).collect();
        env.sort();
        let is_set_up = workspace::is_set_up(&self.workspaces, &launch.snapshot.workspace);
        let after_create: &[String] = if is_set_up { &[] } else { &self.hooks.after_create };
        let all = [
            ("after_create", after_create),
            ("before_run", &self.hooks.before_run),
            ("done", &self.done),
            ("after_run", &self.hooks.after_run),
        ];
        let run = launch.spec.id.to_string();
        let fill = |argv: &[String]| prompt::fill(argv, None, Some(&run), Some(&cwd), None);
        let configured = all.into_iter().filter(|(_, argv)| !argv.is_empty());
        let hooks = configured.map(|(name, argv)| (name, fill(argv))).collect();
        RunPreview { argv: self.argv(launch), cwd, env, hooks }
    }

    fn spec(&self, launch: &Launch, means: &StartInputs, terminal: Option<Terminal>) -> Result<Spec> {
        let mut argv = self.argv(launch);
        argv[0] = means.program.to_str().context("the program's path is not UTF-8")?.to_owned();
        Ok(Spec {
            schema: 1,
            lineage: self.lineage.clone(),
            run: launch.spec.clone(),
            snapshot: launch.snapshot.clone(),
            since: self.now.clone(),
            argv,
            env: means.vars.keys().map(|name| name.to_string_lossy().into_owned()).collect(),
            workspace_root: self.workspaces.clone(),
            tmp_root: means.vars.get(OsStr::new("TMPDIR")).map(PathBuf::from),
            live: self.live.clone(),
            made: self.made.clone(),
            session_pattern: launch.session_pattern.clone(),
            hooks: means.hooks.clone(),
            grace_ms: self.settings.grace.as_millis() as u64,
            log_bytes_max: self.log_bytes_max,
            terminal,
            done: means.done.clone(),
            protected_pids: self.settings.protected_pids.clone(),
            protected_pidfiles: self.settings.protected_pidfiles.clone(),
        })
    }

    pub(super) fn spawn(&self, launch: &Launch, dir: &RunDir, vars: &Vars) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "the fleet is what starts launchers")]
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("factory-tick")
            .arg("__launch")
            .arg(dir.path())
            .env_clear()
            .envs(vars)
            .env("FACTORY_RUN", marker(&self.lineage, &launch.spec.id))
            .env("FACTORY_ITEM", &launch.spec.item.0)
            .env("FACTORY_ROLE", &launch.spec.role)
            .env("FACTORY_WORKSPACE", self.workspaces.join(&launch.snapshot.workspace))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
    }
}
