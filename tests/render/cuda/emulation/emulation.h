// Enough of CUDA to run render/cuda/kernels/*.cu on the CPU, thread by thread, as a compiler of C++ builds them.
//
// Every thread of a block is a fiber with a stack of its own; barriers and warp operations switch to the next. One
// block runs after the other. The order of blocks and of threads within a block can be turned round, so that a
// result which depends on either shows up; a barrier that not all threads reach ends the process with a message.
#pragma once
#define VISAVIS_EMULATED

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>

#define DEVICE inline
#define KERNEL(threads, blocks) extern "C" void
#define __grid_constant__
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

struct alignas(16) float4 { float x, y, z, w; };
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct Index { unsigned x, y, z; };

namespace emulation {

constexpr int WARP = 32, MOST_THREADS = 1024;
constexpr size_t STACK = 64 << 10;

enum State { READY, AT_WARP, AT_BLOCK, DONE };

struct Fiber {
    State state;
    void* stack_pointer;
    ucontext_t context;
    int warp_turn, block_turn;  // how many operations it has taken part in: their results alternate
    uint64_t given[2];          // to the warp's operation
    int asked[2];               // of the block's barrier
};

inline Index thread_index, block_index, grid_size, block_size;
inline Fiber fibers[MOST_THREADS];
inline int running, num_threads, block_sum[2];
inline bool any_waits;
inline char* stacks;
inline void (*body)(const void*);
inline const void* argument;

#ifdef __x86_64__
extern "C" void emulation_switch(void** save, void* load);
asm(R"(
.text
.globl emulation_switch
.type emulation_switch, @function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
inline void* scheduler;
inline void leave() { emulation_switch(&fibers[running].stack_pointer, scheduler); }
inline void enter(int t) { emulation_switch(&scheduler, fibers[t].stack_pointer); }
#else
inline ucontext_t scheduler;
inline void leave() { swapcontext(&fibers[running].context, &scheduler); }
inline void enter(int t) { swapcontext(&scheduler, &fibers[t].context); }
#endif

inline void run_thread() {
    body(argument);
    fibers[running].state = DONE;
    leave();
    abort();
}

inline void prepare(int t) {
    Fiber& f = fibers[t];
    f.state = READY;
    f.warp_turn = f.block_turn = 0;
    char* stack = stacks + t * STACK;
#ifdef __x86_64__
    void** top = (void**)(stack + STACK) - 2;  // a called function finds its stack 8 bytes off a multiple of 16
    *top = (void*)run_thread;
    f.stack_pointer = top - 6;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stack;
    f.context.uc_stack.ss_size = STACK;
    makecontext(&f.context, run_thread, 0);
#endif
}

inline void resume(int t) {
    running = t;
    thread_index = {unsigned(t), 0, 0};
    enter(t);
}

inline bool warp_may_go_on(int first) {
    bool waits = false;
    for (int t = first; t < first + WARP && t < num_threads; ++t) {
        if (fibers[t].state == AT_BLOCK || fibers[t].state == READY) return false;
        waits = waits || fibers[t].state == AT_WARP;
    }
    for (int t = first; waits && t < first + WARP && t < num_threads; ++t) {
        if (fibers[t].state == AT_WARP) fibers[t].state = READY;
    }
    return waits;
}

inline bool block_may_go_on() {
    int sums[2] = {0, 0}, turn = -1;
    for (int t = 0; t < num_threads; ++t) {
        Fiber& f = fibers[t];
        if (f.state == DONE) continue;
        if (f.state != AT_BLOCK || (turn >= 0 && turn != f.block_turn)) {
            fprintf(stderr, "emulation: thread %d waits for others that do not come\n", t);
            abort();
        }
        turn = f.block_turn;
        sums[turn & 1] += f.asked[turn & 1];
    }
    if (turn < 0) return false;
    block_sum[turn & 1] = sums[turn & 1];
    for (int t = 0; t < num_threads; ++t) {
        if (fibers[t].state == AT_BLOCK) fibers[t].state = READY;
    }
    return true;
}

inline void run_block(bool backwards) {
    const int warps = (num_threads + WARP - 1) / WARP;
    for (int t = 0; t < num_threads; ++t) prepare(t);
    do {
        for (int w = 0; w < warps; ++w) {
            const int first = (backwards ? warps - 1 - w : w) * WARP, size = num_threads - first;
            do {
                for (int i = 0; i < WARP && i < size; ++i) {
                    const int t = first + (backwards ? (size < WARP ? size : WARP) - 1 - i : i);
                    if (fibers[t].state == READY) resume(t);
                }
            } while (warp_may_go_on(first));
        }
    } while (block_may_go_on());
}

// order: 0 as numbered; 1 blocks and threads backwards; greater: blocks shuffled by it as a seed
inline void launch(void (*kernel)(const void*), const void* frame, Index grid, unsigned threads, unsigned order) {
    if (!stacks) {
        stacks = (char*)mmap(
            nullptr, MOST_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
        );
    }
    body = kernel, argument = frame, num_threads = int(threads), grid_size = grid, block_size = {threads, 1, 1};
    const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
    uint64_t step = 1;  // coprime to the number of blocks: a walk through all of them
    auto divides = [](uint64_t a, uint64_t b) { while (b) { uint64_t r = a % b; a = b, b = r; } return a; };
    if (order > 1) for (step = order * 2654435761u % (blocks + 1) | 1; divides(blocks, step) != 1;) step += 2;
    for (uint64_t k = 0; k < blocks; ++k) {
        const uint64_t b = order == 1 ? blocks - 1 - k : k * step % blocks;
        block_index = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)};
        run_block(order % 2 == 1);
    }
}

inline void wait(State state) {
    fibers[running].state = state;
    leave();
}

template <class T>
inline uint64_t bits(T value) {
    uint64_t raw = 0;
    static_assert(sizeof value <= sizeof raw);
    memcpy(&raw, &value, sizeof value);
    return raw;
}

// All lanes give a value; afterwards a lane may look at any other's.
struct Exchange {
    int first, turn;
    explicit Exchange(uint64_t value) {
        Fiber& f = fibers[running];
        first = running / WARP * WARP, turn = f.warp_turn++ & 1;
        f.given[turn] = value;
        wait(AT_WARP);
    }
    uint64_t of(int lane) const { return fibers[first + lane].given[turn]; }
    template <class T>
    T as(int lane) const {
        T value;
        uint64_t raw = of(lane & (WARP - 1));
        memcpy(&value, &raw, sizeof value);
        return value;
    }
};

inline int barrier(int value) {
    Fiber& f = fibers[running];
    const int turn = f.block_turn & 1;
    f.asked[turn] = value;
    wait(AT_BLOCK);
    ++fibers[running].block_turn;
    return block_sum[turn];
}

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define gridDim emulation::grid_size
#define blockDim emulation::block_size

inline int lane_of_thread() { return emulation::running % emulation::WARP; }
inline void __syncthreads() { emulation::barrier(0); }
inline int __syncthreads_count(int value) { return emulation::barrier(value != 0); }
inline int __syncthreads_or(int value) { return emulation::barrier(value != 0) != 0; }
inline void __syncwarp(unsigned = ~0u) { emulation::Exchange all(0); }
inline void __threadfence() {}
template <class T> T __shfl_sync(unsigned, T v, int lane) { return emulation::Exchange(emulation::bits(v)).as<T>(lane); }
template <class T> T __shfl_xor_sync(unsigned, T v, int mask) {
    const int lane = lane_of_thread();
    return emulation::Exchange(emulation::bits(v)).as<T>(lane ^ mask);
}
template <class T> T __shfl_up_sync(unsigned, T v, int delta) {
    const int lane = lane_of_thread();
    return emulation::Exchange(emulation::bits(v)).as<T>(lane < delta ? lane : lane - delta);
}
inline unsigned __ballot_sync(unsigned, bool value) {
    emulation::Exchange all(value);
    unsigned mask = 0;
    for (int lane = 0; lane < emulation::WARP; ++lane) mask |= unsigned(all.of(lane) != 0) << lane;
    return mask;
}
inline bool __any_sync(unsigned mask, bool value) { return __ballot_sync(mask, value) != 0; }

template <class T> T __ldcg(const T* p) { return *p; }
template <class T> T atomicAdd(T* p, T v) { T old = *p; *p += v; return old; }
template <class T> T atomicSub(T* p, T v) { T old = *p; *p -= v; return old; }
template <class T> T atomicMin(T* p, T v) { T old = *p; if (v < old) *p = v; return old; }
template <class T> T atomicMax(T* p, T v) { T old = *p; if (v > old) *p = v; return old; }
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
inline float rsqrtf(float v) { return 1 / sqrtf(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline int __float_as_int(float v) { int i; memcpy(&i, &v, 4); return i; }
inline unsigned __float_as_uint(float v) { return unsigned(__float_as_int(v)); }
inline float __int_as_float(int i) { float v; memcpy(&v, &i, 4); return v; }
inline int __ffs(unsigned v) { return __builtin_ffs(int(v)); }
inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }

// How Python launches a kernel.
#define EMULATED(name)                                                                                                \
    extern "C" void emulate_##name(const Frame* frame, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned order) { \
        emulation::launch([](const void* f) { name(*(const Frame*)f); }, frame, {x, y, z}, threads, order);            \
    }
