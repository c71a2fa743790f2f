// A driver library (libcuda.so.1) that runs the emulated kernels: so much of it as render/cuda/device.py calls. It is
// strict where the real one is: code must be a cubin that has the kernel, and a call needs a context on its thread.
#include <dlfcn.h>
#include <string>
#include <vector>

#include "kernels.cpp"

namespace {

struct Launch {
    void (*kernel)(const Frame*, unsigned, unsigned, unsigned, unsigned, unsigned);
    unsigned grid[3], threads;
    Frame frame;
    void run() const { kernel(&frame, grid[0], grid[1], grid[2], threads, 0); }
};
using Graph = std::vector<Launch>;

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_IMAGE = 200, NOT_FOUND = 500 };
int live_graphs = 0;
thread_local void* current = nullptr;
void* capturing = nullptr;
Graph* graph = nullptr;
int a_context;

// The name stands in the code; the emulation has the kernel under another.
int find_kernel(void** function, void* module, const char* name) {
    *function = dlsym(RTLD_DEFAULT, (std::string("emulate_") + name).c_str());
    return *function ? SUCCESS : NOT_FOUND;
}

}  // namespace

extern "C" {

int cuInit(unsigned) { return SUCCESS; }
int cuDriverGetVersion(int* version) { *version = 13000; return SUCCESS; }
int cuDeviceGet(int* device, int index) { *device = index; return index == 0 ? SUCCESS : INVALID_VALUE; }
int cuDevicePrimaryCtxRetain(void** context, int) { *context = &a_context; return SUCCESS; }
int cuCtxSetCurrent(void* context) { current = context; return SUCCESS; }
int cuModuleLoadData(void** module, const void* image) {
    if (!current) return INVALID_CONTEXT;
    if (memcmp(image, "\x7f" "ELF", 4)) return INVALID_IMAGE;
    *module = const_cast<void*>(image);
    return SUCCESS;
}
int cuModuleGetFunction(void** function, void* module, const char* name) { return find_kernel(function, module, name); }
int cuLaunchKernel(
    void* function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
    void* stream, void** arguments, void**
) {
    if (!current) return INVALID_CONTEXT;
    if (!x || !y || !z || by != 1 || bz != 1 || shared) return INVALID_VALUE;
    Launch launch{decltype(Launch::kernel)(function), {x, y, z}, bx, *(const Frame*)arguments[0]};
    if (capturing && capturing == stream) graph->push_back(launch);
    else launch.run();
    return SUCCESS;
}
int cuStreamBeginCapture_v2(void* stream, int) {
    capturing = stream;
    graph = new Graph;
    return SUCCESS;
}
int cuStreamEndCapture(void* stream, void** out) {
    if (stream != capturing) return INVALID_VALUE;
    capturing = nullptr;
    *out = graph;
    ++live_graphs;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(void** executable, void* from, unsigned long long) {
    *executable = new Graph(*(Graph*)from);
    ++live_graphs;
    return SUCCESS;
}
int cuGraphDestroy(void* g) { delete (Graph*)g; --live_graphs; return SUCCESS; }
int cuGraphExecDestroy(void* g) { delete (Graph*)g; --live_graphs; return SUCCESS; }
int cuGraphLaunch(void* executable, void*) {
    if (!current) return INVALID_CONTEXT;
    for (const Launch& launch : *(Graph*)executable) launch.run();
    return SUCCESS;
}
int emulated_graphs() { return live_graphs; }

int cuGetProcAddress_v2(const char* symbol, void** function, int, unsigned long long, int* status) {
    *function = nullptr;
    for (const char* suffix : {"_v2", "WithFlags", ""}) {
        if (!*function) *function = dlsym(RTLD_DEFAULT, (std::string(symbol) + suffix).c_str());
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
int cuGetProcAddress(const char* symbol, void** function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}
}
