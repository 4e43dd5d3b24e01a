/* Shared by the files of the runtime bridge: the one runtime, its lock, and how a script's failure ends the process. */
#ifndef THIMBLE_RUNTIME_H
#define THIMBLE_RUNTIME_H

#include "engine.h"

/* Exit status after an exception that no script caught (EX_SOFTWARE of sysexits.h), and after wrong usage. */
#define STATUS_UNCAUGHT 70
#define STATUS_USAGE 64

extern JSRuntime *runtime;
extern JSContext *context;

/* heap.c */

/* A runtime with memory of its own kind; null when there is none. Once in a process. */
JSRuntime *heap_new_runtime(void);
/* Gives back the memory of pages that hold nothing. */
void heap_trim(void);

/* threads.c */

/* Makes the calling thread able to run scripts with at most stack_size bytes of stack below its current frame. */
void thread_init(size_t stack_size);
/* Takes the runtime; blocks while another thread runs scripts. */
void runtime_enter(void);
/* Gives the runtime back. No value that is not referenced may be held across it. */
void runtime_leave(void);
/* bridge.startIoctlThread */
JSValue start_ioctl_thread(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv);

/* jobs.c */

/* Runs promise jobs until none is left, then reports rejections that nobody handles. Returns how many ran. */
int run_jobs(void);
void jobs_init(void);
/* Prints the pending exception with its stack and causes, and ends the process. */
_Noreturn void die_of_exception(JSContext *ctx);
/* The same for a thrown value. */
_Noreturn void die_of_value(JSContext *ctx, const char *what, JSValueConst value);

/* utf8.c */
JSValue utf8_decode(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv);
JSValue utf8_encode(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv);

/* bridge.c */

/* Defines the global `bridge`. */
void bridge_init(JSContext *ctx, int argc, char **argv);
/* bridge.onUnhandledRejection when a script has set it; otherwise undefined. The caller frees it. */
JSValue bridge_rejection_handler(JSContext *ctx);

/* Generated: the compiled bundle of each role, and of each part of one ("vmm.disks"). */
struct bundle {
    const char *role;
    const uint8_t *start;
    const uint8_t *end;
};
extern const struct bundle bundles[];
extern const size_t bundle_count;

/* main.c */

/* Null when this build has none of that name. */
const struct bundle *find_bundle(const char *role);

#endif
