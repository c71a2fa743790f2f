// All kernels of the CUDA back end, for the CPU.
#include "emulation.h"
#include "place.cu"
#include "raster.cu"
#include "rig.cu"

EMULATED(pose_rig)
EMULATED(place_gaussians)
EMULATED(place_surfels)
EMULATED(list_gaussians)
EMULATED(list_surfels)
EMULATED(draw_gaussians)
EMULATED(draw_surfels)

extern "C" size_t size_of_frame() { return sizeof(Frame); }
extern "C" size_t size_of_drawable() { return sizeof(Drawable); }
extern "C" size_t size_of_run() { return sizeof(Run); }
