/* An agent that does one thing that agents should not: `misbehave <what> <lab>`.
 *
 * Its first process starts another one, which does it and then writes a line into <lab>/ready: "on", or "no" and why
 * where the machine or the user does not allow it. The first one works on until there is a file <lab>/end. What is told
 * of the agent itself is done by the first one. Everything else ends with the pid namespace of the test. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char *own_path, *lab;
/* Open from the beginning: who has become another user could not open it any more. */
static int ready_file;

static void tell(const char *text) {
    if (write(ready_file, text, strlen(text)) < 0) _exit(98);
}

static void ready(void) { tell("on\n"); }

static void give_up(const char *what) {
    char text[200];
    snprintf(text, sizeof text, "no %s: %s\n", what, strerror(errno));
    tell(text);
    _exit(0);
}

static void wait_for_end(void) {
    char end[4200];
    snprintf(end, sizeof end, "%s/end", lab);
    while (access(end, F_OK)) usleep(5000);
    _exit(0);
}

static void stay(void) {
    for (;;) pause();
}

static pid_t start(void) {
    pid_t pid = fork();
    if (pid < 0) give_up("fork");
    return pid;
}

/* An orphan from here on. */
static void leave_parents(void) {
    if (start()) _exit(0);
}

static void become_daemon(void) {
    leave_parents();
    setsid();
    leave_parents();
    if (chdir("/")) give_up("chdir");
}

/* Goes on as another misbehaviour, in a program that was started anew. */
static void become(char *what, char **env) {
    char *argv[] = {own_path, "--", what, lab, NULL};
    execve(own_path, argv, env);
    give_up("execve");
}

static char *nothing[] = {NULL};

/* What only its limit and its group tell. */
static void become_bare(char *what) {
    become_daemon();
    become(what, nothing);
}

/* ------------------------------------------------------------------ where it is */

static void session(void) { setsid(); ready(); stay(); }
static void orphan(void) { leave_parents(); ready(); stay(); }
static void daemon_(void) { become_daemon(); ready(); stay(); }

static void session_without_leader(void) {
    setsid();
    leave_parents();
    ready();
    stay();
}

static void under_a_reaper_of_its_own(void) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!start()) become_bare("stays");
    stay();
}

static void child_of_the_launcher(void) {
    /* A sibling of its parent, that no SIGCHLD tells of. */
    long pid = syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0);
    if (pid < 0) give_up("clone");
    if (pid == 0) become("stays", nothing);
    wait_for_end();
}

static void tree(void) {
    for (int n = 0; n < 100; n++) {
        if (!start()) { become_daemon(); stay(); }
        while (wait(NULL) > 0) {}
    }
    become_daemon();
    ready();
    stay();
}

/* ------------------------------------------------------------------ what it shows */

static void bare(void) { become_bare("stays"); }

static void overwrites_environment(void) {
    char *first = environ[0], *last = first;
    for (char **var = environ; *var; var++) last = *var + strlen(*var);
    become_daemon();
    memset(first, 'x', last - first);
    ready();
    stay();
}

static void another_environment(void) {
    char *run = getenv("FACTORY_RUN"), text[300];
    snprintf(text, sizeof text, "FACTORY_RUN=%.32s/other-impl.7", run ? run : "");
    char *env[] = {text, NULL};
    become_daemon();
    become("stays", env);
}

static void large_environment(void) {
    enum { EACH = 120 << 10, MANY = 20 };
    static char filler[EACH], *env[MANY + 2], run[300];
    memset(filler, 'x', EACH - 1);
    filler[1] = '=';
    for (int n = 0; n < MANY; n++) env[n] = filler;
    snprintf(run, sizeof run, "FACTORY_RUN=%s", getenv("FACTORY_RUN"));
    env[MANY] = run;
    struct rlimit stack;
    getrlimit(RLIMIT_STACK, &stack);
    stack.rlim_cur = stack.rlim_max;
    setrlimit(RLIMIT_STACK, &stack);
    become_daemon();
    become("stays", env);
}

static void not_dumpable(void) {
    become_daemon();
    if (prctl(PR_SET_DUMPABLE, 0)) give_up("prctl");
    ready();
    stay();
}

static void another_name(void) {
    become_daemon();
    /* The letter of a zombie and its one thread, as its stat would tell them. */
    prctl(PR_SET_NAME, ") Z 1 1 1 0 -1");
    strcpy(own_path, "init");
    ready();
    stay();
}

static void lower_limit(void) {
    struct rlimit limit = {200000, 200000};
    become_daemon();
    if (setrlimit(RLIMIT_RTTIME, &limit)) give_up("setrlimit");
    become("stays", nothing);
}

/* ------------------------------------------------------------------ how it lives */

static void respawns_each_ms(void) {
    ready();
    for (;;) {
        usleep(1000);
        if (fork() > 0) _exit(0);
    }
}

static void respawns_by_exec(void) {
    become_daemon();
    ready();
    become("goes-on-by-exec", nothing);
}

static void goes_on_by_exec(void) {
    usleep(1000);
    if (fork() > 0) _exit(0);
    become("goes-on-by-exec", nothing);
}

static void respawns_at_once(void) {
    signal(SIGTERM, SIG_IGN);
    ready();
    for (;;) if (fork() > 0) _exit(0);
}

static void respawns_in_chains(void) {
    for (int n = 0; n < 8; n++) {
        if (start()) continue;
        if (n == 7) ready();
        for (;;) {
            usleep(1000);
            if (fork() > 0) _exit(0);
        }
    }
    _exit(0);
}

static void execs_on_and_on(void) {
    become_daemon();
    ready();
    become("goes-on-becoming", nothing);
}

static void goes_on_becoming(void) { become("goes-on-becoming", nothing); }

static void stopped(void) {
    become_daemon();
    ready();
    raise(SIGSTOP);
    stay();
}

static void deaf(void) {
    for (int number = 1; number < 32; number++) signal(number, SIG_IGN);
    become_bare("stays");
}

static void on_term(int number) {
    (void)number;
    if (fork() == 0) become_bare("stays-quietly");
}

static void answers(void) {
    become_daemon();
    signal(SIGTERM, on_term);
    ready();
    stay();
}

static void floods(void) {
    static char noise[4096];
    memset(noise, 'x', sizeof noise - 1);
    noise[sizeof noise - 1] = '\n';
    become_daemon();
    signal(SIGPIPE, SIG_IGN);
    ready();
    for (;;) if (write(1, noise, sizeof noise) < 0) usleep(1000);
}

static void traced(void) {
    become_daemon();
    pid_t tracee = start();
    if (!tracee) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        stay();
    }
    if (waitpid(tracee, NULL, 0) < 0) give_up("waitpid");
    ready();
    stay();
}

static void zombies(void) {
    become_daemon();
    for (int n = 0; n < 50; n++) if (!start()) _exit(0);
    ready();
    stay();
}

static void waits_for_vfork(void) {
    become_daemon();
    /* Not vfork itself: what its child may do is little. The same for the parent, which waits in the kernel. */
    static char stack[64 << 10];
    int quiet(void *nothing_) { (void)nothing_; ready(); stay(); return 0; }
    if (clone(quiet, stack + sizeof stack, CLONE_VFORK | SIGCHLD, NULL) < 0) give_up("clone");
    stay();
}

static void *thread(void *nothing_) {
    (void)nothing_;
    /* Until the first thread is a zombie. */
    char state[600], path[] = "/proc/self/stat";
    do {
        usleep(1000);
        int file = open(path, O_RDONLY);
        ssize_t length = read(file, state, sizeof state - 1);
        state[length > 0 ? length : 0] = 0;
        close(file);
    } while (!strstr(state, ") Z "));
    ready();
    stay();
    return NULL;
}

static void lives_in_threads(void) {
    pthread_t one;
    if (pthread_create(&one, NULL, thread, NULL)) give_up("pthread_create");
    pthread_exit(NULL);
}

static void without_first_thread(void) { become_bare("lives-in-threads"); }

static void removes_directory(void) {
    char where[4096];
    if (!getcwd(where, sizeof where) || rmdir(where)) give_up("rmdir");
    leave_parents();
    setsid();
    ready();
    stay();
}

/* ------------------------------------------------------------------ namespaces */

static void write_to(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0) give_up(path);
    close(file);
}

static void enter_namespaces(int flags) {
    char map[64];
    uid_t uid = getuid();
    become_daemon();
    if (unshare(flags)) give_up("unshare");
    if (flags & CLONE_NEWUSER) {
        snprintf(map, sizeof map, "0 %u 1", uid);
        write_to("/proc/self/uid_map", map);
    }
    leave_parents();
}

static void pid_namespace(void) {
    enter_namespaces(CLONE_NEWPID);
    if (!start()) become_bare("stays");
    stay();
}

static void user_namespace(void) {
    enter_namespaces(CLONE_NEWUSER | CLONE_NEWPID);
    if (!start()) become_bare("stays");
    stay();
}

static void another_proc(void) {
    enter_namespaces(CLONE_NEWPID | CLONE_NEWNS | (getuid() ? CLONE_NEWUSER : 0));
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) give_up("mount");
    if (mount("proc", "/proc", "proc", 0, NULL)) give_up("mount /proc");
    if (!start()) become_bare("stays");
    stay();
}

/* ------------------------------------------------------------------ users */

static void become_user(uid_t uid) {
    if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) give_up("setresuid");
}

static void another_user(void) {
    become_daemon();
    become_user(1);
    ready();
    stay();
}

static void changes_users(void) {
    become_daemon();
    ready();
    for (;;) {
        if (setresuid(1, 0, 0) || setresuid(0, 0, 0)) _exit(97);
    }
}

/* In a file that is root's and set-uid. */
static void set_uid_program(void) {
    char path[4200];
    char *argv[] = {path, "--", "becomes-root", lab, NULL};
    snprintf(path, sizeof path, "%s-root", own_path);
    become_daemon();
    execv(path, argv);
    give_up("execv");
}

static void becomes_root(void) {
    become_user(0);
    ready();
    stay();
}

/* ------------------------------------------------------------------ control groups */

/* The directory of its own group, if it is one of a run. */
static char *own_group(void) {
    static char line[4096], group[8300], point[4096] = "", path[4096] = "";
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "0::", 3)) sscanf(line + 3, "%4000s", path);
    if (file) fclose(file);
    file = fopen("/proc/self/mountinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (strstr(line, " - cgroup2 ")) sscanf(line, "%*s %*s %*s %*s %4000s", point);
    if (file) fclose(file);
    errno = ENOENT;
    if (!strstr(path, "/factory-tick-")) give_up("group of a run");
    snprintf(group, sizeof group, "%s%s", point, path);
    return group;
}

static void join(const char *group) {
    char procs[8400];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", group);
    write_to(procs, "0");
}

static char *group_below(void) {
    static char below[8320];
    snprintf(below, sizeof below, "%s/below", own_group());
    if (mkdir(below, 0755)) give_up("mkdir");
    return below;
}

static void own_control_group(void) {
    join(group_below());
    become_bare("stays");
}

static void frozen(void) {
    char freeze[8400], *below = group_below();
    become_daemon();
    pid_t pid = start();
    if (!pid) { join(below); raise(SIGSTOP); stay(); }
    /* It is in there when it has stopped. */
    waitpid(pid, NULL, WUNTRACED);
    snprintf(freeze, sizeof freeze, "%s/cgroup.freeze", below);
    write_to(freeze, "1");
    ready();
    _exit(0);
}

static void threaded_group(void) {
    char path[8400], *below = group_below();
    snprintf(path, sizeof path, "%s/cgroup.type", below);
    write_to(path, "threaded");
    snprintf(path, sizeof path, "%s/cgroup.threads", below);
    write_to(path, "0");
    become_bare("stays");
}

static void leave_group(void) {
    char *group = own_group();
    *strrchr(group, '/') = 0;
    join(group);
}

static void leaves_control_group(void) { leave_group(); become_bare("stays"); }
static void wants_to_escape(void) { leave_group(); lower_limit(); }

/* ------------------------------------------------------------------ the agent itself */

static void unbound(void) { prctl(PR_SET_PDEATHSIG, 0); ready(); wait_for_end(); }
static void agent_is_another_user(void) { become_user(1); ready(); wait_for_end(); }
static void stops_launcher(void) { kill(getppid(), SIGSTOP); ready(); wait_for_end(); }

/* Many that end when they are told to, and one that does not; each but the first writes its pid down. */
static void many(void) {
    char text[20];
    for (int n = 0; n <= 32; n++) {
        if (!start()) {
            become_daemon();
            if (n == 32) signal(SIGTERM, SIG_IGN);
            snprintf(text, sizeof text, "%d\n", getpid());
            tell(text);
            stay();
        }
        while (wait(NULL) > 0) {}
    }
    wait_for_end();
}

/* Somebody else's, whom a look at all processes meets before and after ours. */
static void crowd(void) {
    int many = atoi(getenv("CROWD"));
    for (int n = 0; n < many; n++) if (!start()) stay();
    tell("crowd\n");
    stay();
}

static void stays(void) { ready(); stay(); }

static struct {
    const char *name;
    void (*act)(void);
    int by_itself;
} acts[] = {
    {"session", session, 0},
    {"orphan", orphan, 0},
    {"daemon", daemon_, 0},
    {"session-without-leader", session_without_leader, 0},
    {"reaper-of-its-own", under_a_reaper_of_its_own, 0},
    {"child-of-launcher", child_of_the_launcher, 1},
    {"tree-of-100", tree, 0},
    {"bare", bare, 0},
    {"overwrites-environment", overwrites_environment, 0},
    {"another-environment", another_environment, 0},
    {"large-environment", large_environment, 0},
    {"not-dumpable", not_dumpable, 0},
    {"another-name", another_name, 0},
    {"lower-limit", lower_limit, 0},
    {"respawns-each-ms", respawns_each_ms, 0},
    {"respawns-by-exec", respawns_by_exec, 0},
    {"goes-on-by-exec", goes_on_by_exec, 1},
    {"respawns-at-once", respawns_at_once, 0},
    {"respawns-in-8-chains", respawns_in_chains, 0},
    {"execs-on-and-on", execs_on_and_on, 0},
    {"goes-on-becoming", goes_on_becoming, 1},
    {"stopped", stopped, 0},
    {"deaf", deaf, 0},
    {"answers-with-another", answers, 0},
    {"floods-stdout", floods, 0},
    {"traced", traced, 0},
    {"zombies", zombies, 0},
    {"waits-for-vfork", waits_for_vfork, 0},
    {"without-first-thread", without_first_thread, 0},
    {"lives-in-threads", lives_in_threads, 1},
    {"removes-directory", removes_directory, 0},
    {"pid-namespace", pid_namespace, 0},
    {"user-namespace", user_namespace, 0},
    {"another-proc", another_proc, 0},
    {"another-user", another_user, 0},
    {"changes-users", changes_users, 0},
    {"set-uid-program", set_uid_program, 0},
    {"becomes-root", becomes_root, 1},
    {"group-below", own_control_group, 0},
    {"frozen", frozen, 0},
    {"threaded-group", threaded_group, 0},
    {"leaves-group", leaves_control_group, 0},
    {"wants-to-escape", wants_to_escape, 0},
    {"unbound", unbound, 1},
    {"agent-is-another-user", agent_is_another_user, 1},
    {"stops-launcher", stops_launcher, 1},
    {"many", many, 1},
    {"crowd", crowd, 1},
    {"stays", stays, 1},
    {"stays-quietly", stay, 1},
};

/* The first process of a namespace: runs a program to its end. Its orphans leave no zombie, which would take up the
 * pids of the machine. */
static int init(char **argv) {
    signal(SIGCHLD, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGCHLD, SIG_DFL);
        execv(argv[0], argv);
        _exit(96);
    }
    struct pollfd end = {syscall(SYS_pidfd_open, pid, 0), POLLIN, 0};
    while (end.fd >= 0 && poll(&end, 1, -1) <= 0) {}
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "init")) return init(argv + 2);
    char path[4200];
    int at = argc > 1 && !strcmp(argv[1], "--") ? 2 : 1;
    if (argc < at + 2) return 99;
    own_path = argv[0];
    lab = argv[at + 1];
    snprintf(path, sizeof path, "%s/ready", lab);
    ready_file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (ready_file < 0) return 98;
    for (size_t n = 0; n < sizeof acts / sizeof *acts; n++) {
        if (strcmp(argv[at], acts[n].name)) continue;
        if (!acts[n].by_itself && fork() > 0) wait_for_end();
        acts[n].act();
    }
    give_up("act of that name");
}
