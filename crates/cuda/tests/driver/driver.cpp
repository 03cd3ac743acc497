// A driver without a device: the functions of libcuda that are called here, over this machine's memory, with the kernels compiled for it.
// Whatever a real driver may do late is done late: copies and launches wait for a synchronisation. Memory ends where it should: what reads or
// writes behind an allocation or behind a block's shared memory faults.
//
// AQ_FAKE_DEVICES=N, AQ_FAKE_CAPABILITY=60, AQ_FAKE_FAIL=OP:N[+]:STATUS with OP alloc, copy, launch, load or init: the N-th such call (`+`: and
// all after it) fails with that status. AQ_FAKE_TELL=1: says on stderr that it was loaded.
#include "../../kernels/device.cuh"

Index blockIdx, blockDim, gridDim;
float *host_tile;

#include "../../kernels/decode.cu"
#include "../../kernels/encode.cu"
#include "../../kernels/rotate.cu"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

typedef int Status;
typedef unsigned long long Address;
enum { SUCCESS = 0, INVALID_VALUE = 1, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_PTX = 218, NOT_FOUND = 500 };

static std::recursive_mutex lock;
typedef std::lock_guard<std::recursive_mutex> Locked;

static long setting(const char *name, long otherwise) {
    const char *const value = getenv(name);
    return value ? atol(value) : otherwise;
}

__attribute__((constructor)) static void loaded() {
    if (getenv("AQ_FAKE_TELL")) fprintf(stderr, "the driver was loaded\n");
}

// The status of the next call of a kind.
static Status fate(const char *op) {
    static std::map<std::string, long> calls;
    const long call = ++calls[op];
    const char *const plan = getenv("AQ_FAKE_FAIL");
    char wanted[16], after[2] = "";
    long at;
    int status;
    if (!plan || (sscanf(plan, "%15[a-z]:%ld:%d", wanted, &at, &status) != 3 && sscanf(plan, "%15[a-z]:%ld%1[+]:%d", wanted, &at, after, &status) != 4))
        return SUCCESS;
    return std::string(op) == wanted && (call == at || (*after && call > at)) ? status : SUCCESS;
}

// Memory whose end, up to eight bytes, is the end of what can be touched.
struct Guarded {
    char *base;
    size_t whole;
};
static std::map<void *, Guarded> memory;

static void *take(size_t bytes) {
    const size_t page = sysconf(_SC_PAGESIZE), used = (bytes + page - 1) / page * page;
    char *const base = static_cast<char *>(mmap(nullptr, used + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base == MAP_FAILED) return nullptr;
    memset(base, 0xa5, used);
    mprotect(base + used, page, PROT_NONE);
    void *const at = base + used - (bytes + 7) / 8 * 8;
    memory[at] = {base, used + page};
    return at;
}

static Status give(void *at) {
    const auto found = memory.find(at);
    if (found == memory.end()) return INVALID_VALUE;
    munmap(found->second.base, found->second.whole);
    memory.erase(found);
    return SUCCESS;
}

struct Stream {
    std::vector<std::function<void()>> waiting;
    void run() {
        for (const auto &work : waiting) work();
        waiting.clear();
    }
};
static std::map<Stream *, bool> streams;

template <class... A, size_t... I> static void call(void (*kernel)(A...), const u64 *values, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<const A *>(values + I)...);
}

// A kernel with its name: how many arguments it takes, how large each is, and how one block of it is run.
struct Kernel {
    const char *name;
    std::vector<size_t> sizes;
    std::function<void(const u64 *)> block;
};

template <class... A> static Kernel offer(const char *name, void (*kernel)(A...)) {
    return {name, {sizeof(A)...}, [kernel](const u64 *values) { call(kernel, values, std::index_sequence_for<A...>()); }};
}

#define OFFER(kernel) offer(#kernel, kernel)
static const std::vector<Kernel> kernels = {
    OFFER(rtn), OFFER(rtn_symmetric), OFFER(mse), OFFER(mse_weighted), OFFER(mse_symmetric), OFFER(mse_weighted_symmetric),
    OFFER(gain), OFFER(rotate), OFFER(pack), OFFER(dequantize), OFFER(errors),
};

#define API extern "C" __attribute__((visibility("default"))) Status

API cuInit(unsigned) { return setting("AQ_FAKE_DEVICES", 1) == 0 ? NO_DEVICE : fate("init"); }

API cuDeviceGetCount(int *count) {
    *count = (int)setting("AQ_FAKE_DEVICES", 1);
    return SUCCESS;
}

API cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < setting("AQ_FAKE_DEVICES", 1) ? SUCCESS : INVALID_DEVICE;
}

API cuDeviceGetName(char *name, int len, int device) {
    snprintf(name, len, "a driver without a device, number %d", device);
    return SUCCESS;
}

API cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = size_t(1) << 33;
    return SUCCESS;
}

API cuDeviceGetAttribute(int *value, int attribute, int) {
    const long capability = setting("AQ_FAKE_CAPABILITY", 75);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0; // pools of memory: none
    return SUCCESS;
}

API cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = reinterpret_cast<void *>(size_t(device) + 1);
    return SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }

static thread_local void *current;

API cuCtxSetCurrent(void *context) {
    current = context;
    return SUCCESS;
}

API cuCtxGetCurrent(void **context) {
    *context = current;
    return SUCCESS;
}

API cuCtxSynchronize() {
    const Locked locked(lock);
    for (auto &stream : streams) stream.first->run();
    return SUCCESS;
}

API cuMemGetInfo_v2(size_t *left, size_t *total) {
    *left = *total = size_t(1) << 33;
    return SUCCESS;
}

API cuStreamCreate(Stream **stream, unsigned) {
    const Locked locked(lock);
    *stream = new Stream;
    streams[*stream] = true;
    return SUCCESS;
}

API cuStreamDestroy_v2(Stream *stream) {
    const Locked locked(lock);
    stream->run();
    streams.erase(stream);
    delete stream;
    return SUCCESS;
}

API cuStreamSynchronize(Stream *stream) {
    const Locked locked(lock);
    stream->run();
    return SUCCESS;
}

API cuEventCreate(void **event, unsigned) {
    *event = malloc(1);
    return SUCCESS;
}

API cuEventDestroy_v2(void *event) {
    free(event);
    return SUCCESS;
}

API cuEventRecord(void *, Stream *) { return SUCCESS; }
API cuEventQuery(void *) { return SUCCESS; }
API cuEventSynchronize(void *) { return cuCtxSynchronize(); }
API cuStreamWaitEvent(Stream *, void *, unsigned) { return SUCCESS; }

API cuEventElapsedTime(float *ms, void *, void *) {
    *ms = 1;
    return SUCCESS;
}

API cuMemAlloc_v2(Address *at, size_t bytes) {
    const Locked locked(lock);
    if (const Status status = fate("alloc")) return status;
    *at = reinterpret_cast<Address>(take(bytes));
    return *at ? SUCCESS : 2;
}

API cuMemFree_v2(Address at) {
    const Locked locked(lock);
    return give(reinterpret_cast<void *>(at));
}

API cuMemHostAlloc(void **at, size_t bytes, unsigned) {
    const Locked locked(lock);
    *at = take(bytes);
    return *at ? SUCCESS : 2;
}

API cuMemFreeHost(void *at) {
    const Locked locked(lock);
    return give(at);
}

static Status copy(Stream *stream, void *to, const void *from, size_t bytes) {
    const Locked locked(lock);
    if (const Status status = fate("copy")) return status;
    stream->waiting.push_back([=] { memcpy(to, from, bytes); });
    return SUCCESS;
}

API cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, Stream *stream) {
    return copy(stream, reinterpret_cast<void *>(to), from, bytes);
}

API cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, Stream *stream) {
    return copy(stream, to, reinterpret_cast<const void *>(from), bytes);
}

API cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Stream *stream) {
    return copy(stream, reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
}

API cuMemsetD8Async(Address at, unsigned char value, size_t bytes, Stream *stream) {
    const Locked locked(lock);
    stream->waiting.push_back([=] { memset(reinterpret_cast<void *>(at), value, bytes); });
    return SUCCESS;
}

API cuModuleLoadData(std::string **module, const void *image) {
    const Locked locked(lock);
    if (const Status status = fate("load")) return status;
    const std::string text = static_cast<const char *>(image);
    if (text.find(".version") == std::string::npos) return INVALID_PTX;
    *module = new std::string(text);
    return SUCCESS;
}

API cuModuleUnload(std::string *module) {
    delete module;
    return SUCCESS;
}

// A kernel must be in the PTX as well, under the same name.
API cuModuleGetFunction(const Kernel **function, const std::string *module, const char *name) {
    if (module->find(".entry " + std::string(name) + "(") == std::string::npos) return NOT_FOUND;
    for (const Kernel &kernel : kernels) {
        if (std::string(kernel.name) == name) {
            *function = &kernel;
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

API cuLaunchKernel(const Kernel *kernel, unsigned grid, unsigned, unsigned, unsigned block, unsigned, unsigned, unsigned shared, Stream *stream,
                   void **arguments, void **) {
    const Locked locked(lock);
    if (const Status status = fate("launch")) return status;
    if (grid == 0 || block == 0 || block > 1024 || shared > 48 * 1024) return INVALID_VALUE;
    std::vector<u64> values(kernel->sizes.size());
    for (size_t i = 0; i < values.size(); ++i) memcpy(&values[i], arguments[i], kernel->sizes[i]);
    stream->waiting.push_back([=] {
        gridDim.x = grid;
        blockDim.x = block;
        // Without shared memory the tile is what cannot be touched.
        void *const tile = take(shared ? shared : sysconf(_SC_PAGESIZE));
        host_tile = static_cast<float *>(tile) + (shared ? 0 : sysconf(_SC_PAGESIZE) / sizeof(float));
        for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
            memset(tile, 0xa5, shared);
            kernel->block(values.data());
        }
        give(tile);
    });
    return SUCCESS;
}
