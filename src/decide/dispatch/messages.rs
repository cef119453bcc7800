//! What an agent is told that goes on: what a person had to say, and why it goes on.

use crate::config::{Role, prompt};
use crate::model::{AgentName, FollowUp, FollowUpReason};
use crate::registry::{ItemRecord, Message};

/// The prompt of a session that goes on.
pub(in crate::decide) fn of_session(
    role: &Role,
    record: &ItemRecord,
    agent: &AgentName,
    follow_up: Option<&FollowUp>,
) -> String {
    let reason = follow_up.map_or(FollowUpReason::Failure, |follow_up| follow_up.reason);
    let built_in = match reason {
        FollowUpReason::Failure => prompt::BUILT_IN_RESUME,
        FollowUpReason::Answer => prompt::BUILT_IN_ANSWERED,
        FollowUpReason::Unfinished => prompt::BUILT_IN_UNFINISHED,
        FollowUpReason::NotDone => prompt::BUILT_IN_CONTINUE,
    };
    let unheard = record.messages.iter().filter(|message| !message.heard);
    let mut parts: Vec<_> = unheard.map(|message| words(message, agent)).collect();
    parts.extend(follow_up.and_then(|follow_up| follow_up.text.clone()));
    parts.push(role.resume_prompt.as_deref().unwrap_or(built_in).to_owned());
    parts.join("\n\n")
}

/// All that a person has said so far, for a session that knows none of it; `None`: nothing.
pub(in crate::decide) fn of_start(record: &ItemRecord, agent: &AgentName) -> Option<String> {
    let all: Vec<_> = record.messages.iter().map(|message| words(message, agent)).collect();
    (!all.is_empty()).then(|| all.join("\n\n"))
}

/// A message, with the questions that it answers.
fn words(message: &Message, agent: &AgentName) -> String {
    if message.asked.is_empty() {
        return message.text.clone();
    }
    let question = |(asker, question): (&AgentName, &String)| match asker == agent {
        true => format!("You asked: {question}"),
        false => format!("{asker} asked: {question}"),
    };
    let questions: Vec<_> = message.asked.iter().map(question).collect();
    format!("{}\nThe answer: {}", questions.join("\n"), message.text)
}
