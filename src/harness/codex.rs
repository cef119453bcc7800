//! Codex, as version 0.169.0 speaks.

use std::time::Duration;

use super::{ARGS, Counts, Home, Meaning, PermissionTable, Preset, SESSION, SessionFrom};
use crate::harness::schema::{End, Field, OutputSchema, Tasks};

/// A program that replaces itself is not the one that was tried. No variable switches that off.
const NO_UPDATE: &str = "check_for_update_on_startup=false";

/// A workspace need not be a repository. The role's arguments belong to `exec`: before `resume` they hold for it, too,
/// after it most of them are refused.
pub(super) const PRESET: Preset = Preset {
    name: "codex",
    start: &["codex", "exec", "--json", "--skip-git-repo-check", "-c", NO_UPDATE, ARGS, "-"],
    resume: &[
        "codex",
        "exec",
        "--json",
        "--skip-git-repo-check",
        "-c",
        NO_UPDATE,
        ARGS,
        "resume",
        SESSION,
        "-",
    ],
    takeover: &["codex", "resume", SESSION],
    session: SessionFrom::Reported,
    // As for claude: a command that runs long is silent while it does. Without a network it never ends by itself.
    stall: Duration::from_secs(20 * 60),
    // Without the first it takes what `codex login` left below HOME or CODEX_HOME; OPENAI_API_KEY it does not send.
    env: &["CODEX_API_KEY", "CODEX_HOME"],
    set: &[],
    counts: Counts::Session,
    credentials: &["CODEX_API_KEY"],
    home: Home {
        var: "CODEX_HOME",
        folder: ".codex",
        settings: "config.toml",
        grant: "sandbox_mode",
        login: "auth.json",
    },
    grants: PermissionTable {
        valued: &[
            (&["--sandbox", "-s"], &["workspace-write", "danger-full-access"]),
            (&["--config", "-c"], &["sandbox_mode=workspace-write", "sandbox_mode=danger-full-access"]),
        ],
        // `--full-auto` is of earlier versions.
        flags: &["--approve-for-me", "--dangerously-bypass-approvals-and-sandbox", "--yolo", "--full-auto"],
        elsewhere: &["--profile", "-p", "default_permissions="],
        not_for_root: &[],
        root_override: "",
        suggested: &["--sandbox", "workspace-write"],
        without: "codex exec runs its agent in a sandbox that is read-only, and ends well",
    },
    talk: OutputSchema {
        session: Field { on: &[("/type", "thread.started")], at: "/thread_id" },
        message: Field {
            on: &[("/type", "item.completed"), ("/item/type", "agent_message")],
            at: "/item/text",
        },
        work: &[
            &[("/type", "item.completed"), ("/item/type", "command_execution")],
            &[("/type", "item.completed"), ("/item/type", "file_change")],
            &[("/type", "item.completed"), ("/item/type", "mcp_tool_call")],
        ],
        wait: Field::NONE,
        wait_text: Field { on: &[("/type", "error"), ("/message", "Reconnecting...")], at: "/message" },
        code: Field::NONE,
        reset: Field::NONE,
        // What still runs at the end of the turn ends without a line.
        tasks: Tasks {
            begin: &[("/type", "item.started"), ("/item/type", "command_execution")],
            id: "/item/id",
            does: "/item/command",
            end: &[("/type", "item.completed"), ("/item/type", "command_execution")],
            did: "/item/command",
            stopped: &[("", "never")],
        },
        // Of its servers those that are `required` keep a session from beginning.
        servers: None,
        end: End {
            on: &[&[("/type", "turn.completed")], &[("/type", "turn.failed")]],
            failed: &[&[("/type", "turn.failed")]],
            is_error: None,
            status: None,
            words: &["/error/message"],
            denials: None,
            denied_tool: None,
            turns: None,
            usd: None,
            tokens: &["/usage/input_tokens", "/usage/output_tokens"],
        },
        codes: &[],
        status_after: &["unexpected status ", "last status: "],
        // It prints the body of such an answer, and its status nowhere.
        refused: &["invalid_request_error"],
        // One error code stands for a session that is gone and for one that another process has open.
        texts: &[
            ("no rollout found for", Meaning::SessionGone),
            ("No prompt provided via stdin", Meaning::NoEffect),
            ("hit your usage limit", Meaning::RateLimited),
            ("Quota exceeded", Meaning::RateLimited),
            ("Rate limit reached", Meaning::RateLimited),
            ("high demand", Meaning::RateLimited),
            ("at capacity", Meaning::RateLimited),
            ("Missing environment variable", Meaning::Denied),
            ("refresh token", Meaning::Denied),
            ("Not logged in", Meaning::Denied),
            ("waiting for network", Meaning::Unreachable),
            ("Connection failed", Meaning::Unreachable),
            ("error sending request", Meaning::Unreachable),
            ("stream disconnected", Meaning::Unreachable),
        ],
    },
};
