/*
 * One runtime, many threads, one at a time in it. A thread that waits for the kernel gives the runtime back meanwhile.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime.h"

/* Native frames and QuickJS's own recursion; a handler of a vCPU exit is far from needing it all. */
#define THREAD_STACK_SIZE (256 * 1024)
/* Kept back for the C functions that scripts call, which QuickJS's check does not see. */
#define STACK_RESERVE (48 * 1024)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread struct engine_thread self;

void thread_init(size_t stack_size)
{
    self.stack_base = (uintptr_t)__builtin_frame_address(0);
    self.stack_size = stack_size;
    self.frame = NULL;
}

void runtime_enter(void)
{
    pthread_mutex_lock(&lock);
    engine_resume(runtime, &self);
}

void runtime_leave(void)
{
    engine_suspend(runtime, &self);
    pthread_mutex_unlock(&lock);
}

struct ioctl_thread {
    int fd;
    unsigned long request;
    JSValue handler;
    pid_t id;
    sem_t started;
};

static void *ioctl_loop(void *argument)
{
    struct ioctl_thread *thread = argument;
    int fd = thread->fd;
    unsigned long request = thread->request;
    JSValue handler = thread->handler;
    int32_t stop = 0;

    thread_init(THREAD_STACK_SIZE - STACK_RESERVE);
    thread->id = syscall(SYS_gettid);
    sem_post(&thread->started); /* the structure belongs to the starting thread again */

    while (!stop) {
        long result = syscall(SYS_ioctl, fd, request, 0);
        JSValue argument_value, returned;
        if (result < 0)
            result = -errno;
        runtime_enter();
        argument_value = JS_NewInt64(context, result);
        returned = JS_Call(context, handler, JS_UNDEFINED, 1, &argument_value);
        if (JS_IsException(returned) || JS_ToInt32(context, &stop, returned))
            die_of_exception(context);
        JS_FreeValue(context, returned);
        run_jobs();
        if (stop)
            JS_FreeValue(context, handler);
        runtime_leave();
    }
    return NULL;
}

JSValue start_ioctl_thread(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    struct ioctl_thread thread;
    pthread_attr_t attributes;
    pthread_t handle;
    int32_t fd;
    int64_t request;
    int error;

    (void)this_value;
    if (argc != 3 || !JS_IsFunction(ctx, argv[2]))
        return JS_ThrowTypeError(ctx, "startIoctlThread takes a file descriptor, a request and a function");
    if (JS_ToInt32(ctx, &fd, argv[0]) || JS_ToInt64(ctx, &request, argv[1]))
        return JS_EXCEPTION;
    thread.fd = fd;
    thread.request = request;
    thread.handler = JS_DupValue(ctx, argv[2]);
    sem_init(&thread.started, 0, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&handle, &attributes, ioctl_loop, &thread);
    pthread_attr_destroy(&attributes);
    if (error) {
        JS_FreeValue(ctx, thread.handler);
        sem_destroy(&thread.started);
        return JS_ThrowInternalError(ctx, "no thread could be started: errno %d", error);
    }
    /* Short: the new thread posts before it waits for anything. */
    while (sem_wait(&thread.started))
        continue;
    sem_destroy(&thread.started);
    return JS_NewInt32(ctx, thread.id);
}
