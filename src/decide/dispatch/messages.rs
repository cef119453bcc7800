//! What an agent is told that goes on: what a person had to say, and why it goes on.

use std::collections::BTreeSet;

use crate::config::{Role, prompt};
use crate::model::{AgentName, FollowUp, FollowUpReason};
use crate::registry::{ItemRecord, Message};

/// The prompt of a session that goes on: what a person had to say, the text of each follow-up, and how to go on.
pub(in crate::decide) fn of_session(
    role: &Role,
    record: &ItemRecord,
    agent: &AgentName,
    follow_ups: &[FollowUp],
) -> String {
    let unheard = record.messages.iter().filter(|message| !message.heard);
    let mut parts: Vec<_> = unheard.map(|message| words(message, agent)).collect();
    parts.extend(follow_ups.iter().filter_map(|one| one.text.clone()));
    match &role.resume_prompt {
        Some(prompt) => parts.push(prompt.clone()),
        None if follow_ups.is_empty() => parts.push(prompt::BUILT_IN_RESUME.to_owned()),
        None => {
            let reasons: BTreeSet<_> = follow_ups.iter().map(|one| one.reason).collect();
            parts.extend(reasons.into_iter().map(|reason| built_in(reason).to_owned()));
        }
    }
    parts.join("\n\n")
}

fn built_in(reason: FollowUpReason) -> &'static str {
    match reason {
        FollowUpReason::Failure => prompt::BUILT_IN_RESUME,
        FollowUpReason::Answer => prompt::BUILT_IN_ANSWERED,
        FollowUpReason::Unfinished => prompt::BUILT_IN_UNFINISHED,
        FollowUpReason::NotDone => prompt::BUILT_IN_CONTINUE,
    }
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
