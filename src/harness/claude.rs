//! Claude Code, as version 2.1.197 speaks.

use std::time::Duration;

use super::{ARGS, Counts, Home, Meaning, PermissionTable, Preset, SESSION, SessionFrom};
use crate::harness::schema::{End, Field, OutputSchema, Servers, Tasks};

/// With `text` or `json` it prints nothing until its end, which looks like a stall; `stream-json` needs `--verbose`.
/// The role's arguments come last: some of its options take every word that follows.
pub(super) const PRESET: Preset = Preset {
    name: "claude",
    start: &["claude", "-p", "--output-format", "stream-json", "--verbose", "--session-id", SESSION, ARGS],
    resume: &["claude", "-p", "--output-format", "stream-json", "--verbose", "--resume", SESSION, ARGS],
    takeover: &["claude", "--resume", SESSION],
    session: SessionFrom::Chosen,
    // The longest it lets a command of its agent run is 10 minutes, and it says nothing meanwhile.
    stall: Duration::from_secs(20 * 60),
    // Any one of the first three is its credential; without one it takes what `claude /login` left below HOME.
    env: &[
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CONFIG_DIR",
    ],
    // A program that replaces itself is not the one that was tried. And a session that does not wait for its tool servers
    // calls them pending, whatever becomes of them.
    set: &[("DISABLE_AUTOUPDATER", "1"), ("MCP_CONNECTION_NONBLOCKING", "0")],
    counts: Counts::Run,
    credentials: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"],
    home: Home {
        var: "CLAUDE_CONFIG_DIR",
        folder: ".claude",
        settings: "settings.json",
        grant: "\"permissions\"",
        login: ".credentials.json",
    },
    grants: PermissionTable {
        // `default`, `plan` and `dontAsk` deny whatever is not allowed elsewhere.
        valued: &[(&["--permission-mode"], &["acceptEdits", "auto", "bypassPermissions"])],
        flags: &[
            "--allowedTools",
            "--allowed-tools",
            "--dangerously-skip-permissions",
            "--permission-prompt-tool",
        ],
        elsewhere: &["--settings"],
        not_for_root: &["--dangerously-skip-permissions", "bypassPermissions"],
        root_override: "IS_SANDBOX",
        suggested: &["--permission-mode", "acceptEdits"],
        without: "claude -p denies its agent every tool that changes something, and ends well",
    },
    talk: OutputSchema {
        // On every line.
        session: Field { on: &[], at: "/session_id" },
        message: Field {
            on: &[("/type", "assistant"), ("/message/content/0/type", "text")],
            at: "/message/content/0/text",
        },
        work: &[&[("/type", "user"), ("/message/content/0/type", "tool_result")]],
        wait: Field { on: &[("/type", "system"), ("/subtype", "api_retry")], at: "/error_status" },
        wait_text: Field::NONE,
        code: Field { on: &[("/type", "assistant")], at: "/error" },
        reset: Field {
            on: &[("/type", "rate_limit_event"), ("/rate_limit_info/status", "rejected")],
            at: "/rate_limit_info/resetsAt",
        },
        // It waits 5 s for what still runs once its agent has ended its turn, then stops it.
        tasks: Tasks {
            begin: &[("/type", "system"), ("/subtype", "task_started")],
            id: "/task_id",
            does: "/description",
            end: &[("/type", "system"), ("/subtype", "task_notification")],
            did: "/summary",
            stopped: &[("/status", "stopped")],
        },
        servers: Some(Servers {
            list: Field { on: &[("/type", "system"), ("/subtype", "init")], at: "/mcp_servers" },
            name: "/name",
            status: "/status",
            fine: &["connected", "disabled"],
            given_by: "--mcp-config",
            tool: "mcp__",
        }),
        // Its `subtype` is "success" also for an error of the provider.
        end: End {
            on: &[&[("/type", "result")]],
            failed: &[&[("/subtype", "error")]],
            is_error: Some("/is_error"),
            status: Some("/api_error_status"),
            words: &["/result", "/errors/0"],
            denials: Some("/permission_denials"),
            denied_tool: Some("/tool_name"),
            turns: Some("/num_turns"),
            usd: Some("/total_cost_usd"),
            tokens: &[
                "/usage/input_tokens",
                "/usage/cache_creation_input_tokens",
                "/usage/cache_read_input_tokens",
                "/usage/output_tokens",
            ],
        },
        // `server_error` is everything from no connection to no capacity: its words tell more.
        codes: &[
            ("rate_limit", Meaning::RateLimited),
            ("overloaded", Meaning::RateLimited),
            ("billing_error", Meaning::RateLimited),
            ("authentication_failed", Meaning::Denied),
            ("oauth_org_not_allowed", Meaning::Denied),
        ],
        status_after: &["API Error: "],
        refused: &[],
        texts: &[
            ("No conversation found with session ID", Meaning::SessionGone),
            ("Error: Session ID ", Meaning::SessionTaken),
            ("Input must be provided either through stdin", Meaning::NoEffect),
            ("Overloaded", Meaning::RateLimited),
            ("Unable to connect to API", Meaning::Unreachable),
            ("Connection error", Meaning::Unreachable),
            ("Request timed out", Meaning::Unreachable),
            ("socket connection was closed", Meaning::Unreachable),
            ("Not logged in", Meaning::Denied),
            ("Invalid API key", Meaning::Denied),
        ],
    },
};
