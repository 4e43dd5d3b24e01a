/* Start-up: picks the role's bundle and runs it. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

/* Of the 8 MiB that Linux gives a main thread; touched only as far as it is used. */
#define MAIN_STACK_SIZE (2 * 1024 * 1024)

JSRuntime *runtime;
JSContext *context;

static void interrupted(int signal)
{
    (void)signal;
}

static void set_signal(int signal, void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof(action)); /* no SA_RESTART: the call it interrupts is to return EINTR */
    action.sa_handler = handler;
    sigaction(signal, &action, NULL);
}

const struct bundle *find_bundle(const char *role)
{
    size_t i;

    for (i = 0; i < bundle_count; i++) {
        if (strcmp(bundles[i].role, role) == 0)
            return &bundles[i];
    }
    return NULL;
}

/* The one role of a build that has no other; its parts have a dot in their names. */
static const struct bundle *only_role(void)
{
    const struct bundle *role = NULL;
    size_t i;

    for (i = 0; i < bundle_count; i++) {
        if (strchr(bundles[i].role, '.'))
            continue;
        if (role)
            return NULL;
        role = &bundles[i];
    }
    return role;
}

/* PID 1 is init; otherwise the first argument says it; a single role needs no name. */
static const struct bundle *choose_bundle(int argc, char **argv)
{
    const struct bundle *bundle = NULL;

    if (getpid() == 1)
        bundle = find_bundle("init");
    if (!bundle && argc > 1 && !strchr(argv[1], '.'))
        bundle = find_bundle(argv[1]);
    return bundle ? bundle : only_role();
}

int main(int argc, char **argv)
{
    const struct bundle *bundle = choose_bundle(argc, argv);
    JSValue script, result;

    if (!bundle) {
        static const char usage[] = "thimble: the first argument must be a role this build has (init, agent, vmm, ...)\n";
        if (write(2, usage, sizeof(usage) - 1) < 0)
            return STATUS_USAGE;
        return STATUS_USAGE;
    }
    set_signal(SIGUSR1, interrupted);
    set_signal(SIGPIPE, SIG_IGN);

    runtime = heap_new_runtime();
    context = runtime ? engine_new_context(runtime) : NULL;
    if (!context)
        return STATUS_UNCAUGHT;
    thread_init(MAIN_STACK_SIZE);
    runtime_enter();
    jobs_init();
    script = engine_read_script(context, bundle->start, bundle->end - bundle->start);
    engine_add_intrinsics(context);
    bridge_init(context, argc, argv);
    result = engine_run_module(context, script);
    if (JS_IsException(result))
        die_of_exception(context);
    JS_FreeValue(context, result);
    run_jobs();
    return 0; /* the kernel frees everything faster than the engine would */
}
