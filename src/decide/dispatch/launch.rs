//! Everything that one start needs, worked out beforehand.

use std::time::Duration;

use crate::config::Role;
use crate::config::prompt::{self, PromptVars};
use crate::decide::dispatch::messages;
use crate::decide::planner::Planner;
use crate::harness::{self, SessionFrom};
use crate::model::{FollowUp, ItemSnapshot, Launch, RunId, RunSpec, WorkItem};
use crate::registry::ItemRecord;

/// The launch of a role at an item. The error is a prompt that can't be rendered.
pub(in crate::decide) fn launch(
    planner: &Planner,
    role: &Role,
    item: &WorkItem,
    record: &ItemRecord,
    dispatch: u64,
    session: Option<String>,
    follow_ups: Vec<FollowUp>,
) -> Result<Launch, String> {
    let agent = planner.registry.agent_name(&item.id, &record.slug, &role.name, &role.suffix);
    let run = planner.registry.names.next_run(&agent);
    let workspace = &planner.registry.names.items[&item.id].workspace;
    let prompt = match session {
        Some(_) => messages::of_session(role, record, &run.agent, &follow_ups),
        None => render(planner, role, item, record, &run, workspace)?,
    };
    let preset = role.preset();
    let chooses = preset.is_some_and(|preset| preset.session == SessionFrom::Chosen) && session.is_none();
    let chosen_session = chooses.then(|| harness::chosen_session(&planner.world.local.lineage, &run));
    let argv = match (preset, &session) {
        (Some(preset), Some(session)) => preset.resume_argv(session, &role.args),
        (Some(preset), None) => preset.start_argv(chosen_session.as_deref().unwrap_or_default(), &role.args),
        (None, Some(_)) => role.resume.clone(),
        (None, None) => role.command.clone(),
    };
    let of_preset = preset.map_or(&[][..], |preset| preset.env);
    let env = role.env.iter().cloned().chain(of_preset.iter().map(|name| (*name).to_owned()));
    let resumed = planner.registry.agents.get(&run.agent).filter(|_| session.is_some());
    // A session goes on with the text that it was given.
    let given = |recorded: &Option<String>, now: &str| {
        recorded.clone().filter(|_| session.is_some()).unwrap_or_else(|| now.to_owned())
    };
    let ms = |time: Duration| time.as_millis() as u64;
    let resumes =
        resumed.map_or(0, |agent| agent.resumes + u32::from(FollowUp::counts_as_resume(&follow_ups)));
    let snapshot = ItemSnapshot {
        key: item.key.clone(),
        slug: record.slug.clone(),
        workspace: workspace.clone(),
        hash: given(&record.hash, &item.hash),
        content_hash: given(&record.content_hash, &item.content_hash),
    };
    let spec = RunSpec {
        id: run,
        item: item.id.clone(),
        role: role.name.clone(),
        harness: role.harness.clone(),
        dispatch,
        resumes,
        session,
        chosen_session,
        prelude_ms: ms(planner.config.hooks.before_agent(planner.config.fleet.grace)),
        deadline_ms: role.deadline.map(ms),
        stall_ms: role.stall.map(ms),
        follow_ups,
        done_when: planner.config.done.when(),
    };
    Ok(Launch {
        spec,
        snapshot,
        argv,
        prompt,
        env: env.collect(),
        credentials: planner.world.local.credentials.get(&role.name).cloned(),
        session_pattern: role.session.clone(),
    })
}

fn render(
    planner: &Planner,
    role: &Role,
    item: &WorkItem,
    record: &ItemRecord,
    run: &RunId,
    workspace: &str,
) -> Result<String, String> {
    let workspace = planner.world.local.workspaces.join(workspace);
    let last_error = record.last.as_ref().filter(|last| last.class.is_some());
    let message = messages::of_start(record, &run.agent);
    let vars = PromptVars {
        item,
        attempt: record.attempts + 1,
        run: &run.to_string(),
        role: &role.name,
        workspace: &workspace.to_string_lossy(),
        last_error: last_error.map(|last| last.because.as_str()),
        message: message.as_deref(),
    };
    prompt::render(&role.prompt, &vars)
        .map_err(|error| format!("the prompt of role {:?} can't be rendered: {error}", role.name))
}
