//! A device: its kernels, and lanes to work in. A lane is a stream with its own memory, here and there. Every caller of [`Device::encode`] takes
//! one for as long as it encodes, so the copies of one worker overlap with the kernels of the others, and a device holds as much memory as
//! workers have rows at a time.

use crate::launch::{self, Arg, KERNELS, Launch, Slot};
use crate::status::{Failure, Kind, during};
use aq_core::{Geometry, Scheme};
use aq_kernels::Tuning;
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, LaunchConfig, PinnedHostSlice, PushKernelArg};
use cudarc::nvrtc::Ptx;
use flate2::read::ZlibDecoder;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// An opened device.
pub struct Device {
    context: Arc<CudaContext>,
    functions: BTreeMap<&'static str, CudaFunction>,
    lanes: Mutex<Vec<Lane>>,
}

/// Rows to be encoded.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// How they are cut into groups.
    pub geometry: Geometry,
    /// How they are encoded.
    pub scheme: Scheme,
    /// Switches of the search.
    pub tuning: Tuning,
    /// Source order, finite.
    pub weights: &'a [f32],
}

/// Where the results go.
pub struct Encoded<'a> {
    /// One for each weight.
    pub codes: &'a mut [u8],
    /// (group, tap) order.
    pub scales: &'a mut [f32],
    /// Like scales.
    pub zeros: &'a mut [f32],
}

impl Device {
    pub(crate) fn new(context: Arc<CudaContext>) -> Result<Self, Failure> {
        // SAFETY: a slice is only ever used in the stream of the lane that owns it, whose order is all the order that is needed.
        unsafe { context.disable_event_tracking() };
        let module = context.load_module(Ptx::from_src(ptx())).map_err(during("load"))?;
        let functions = KERNELS.into_iter().map(|name| Ok((name, module.load_function(name)?)));
        let functions = functions.collect::<Result<_, _>>().map_err(during("load"))?;
        Ok(Self { context, functions, lanes: Mutex::default() })
    }

    /// The card's name.
    pub fn name(&self) -> Result<String, Failure> {
        self.context.name().map_err(during("open"))
    }

    /// Free and total bytes of its memory.
    pub fn memory(&self) -> Result<(usize, usize), Failure> {
        self.context.mem_get_info().map_err(during("open"))
    }

    /// Encodes rows; whether a rotation left f32 is returned. Codes, scales and zeros have any content after a failure.
    #[expect(clippy::needless_pass_by_value, reason = "whoever encodes owns the place")]
    pub fn encode(&self, rows: Rows<'_>, out: Encoded<'_>) -> Result<bool, Failure> {
        let Rows { geometry: g, scheme, tuning, weights } = rows;
        let count = weights.len() / g.row();
        if !launch::fits(g, count) {
            return Err(Failure { op: "launch", status: "too many rows for one launch".into(), kind: Kind::OutOfMemory });
        }
        self.in_lane(|lane| {
            lane.upload(self, Slot::Weights, weights)?;
            for slot in [Slot::Codes, Slot::Scales, Slot::Zeros, Slot::Moments, Slot::NotFinite] {
                lane.reserve(slot, slot.bytes(g, scheme.bits, count))?;
            }
            lane.clear(Slot::NotFinite, 4)?;
            for launch in launch::encode(g, scheme, tuning, count) {
                lane.launch(self, &launch)?;
            }
            lane.download_bytes(Slot::Codes, out.codes)?;
            lane.download(Slot::Scales, out.scales)?;
            lane.download(Slot::Zeros, out.zeros)?;
            let mut not_finite = [0; 4];
            lane.download_bytes(Slot::NotFinite, &mut not_finite)?;
            lane.wait()?;
            Ok(not_finite != [0; 4])
        })
    }

    /// Lends a lane. One in which something failed is not used again.
    pub fn in_lane<T>(&self, work: impl FnOnce(&mut Lane) -> Result<T, Failure>) -> Result<T, Failure> {
        let attempt = || {
            let lent = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut lane = if let Some(lane) = lent { lane } else { Lane::new(&self.context)? };
            let done = work(&mut lane)?;
            self.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
            Ok(done)
        };
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| Err(Failure::panicked("launch")))
    }

    /// Gives back what lanes hold that nobody uses.
    pub fn trim(&self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A stream and its memory.
pub struct Lane {
    stream: Arc<CudaStream>,
    slots: [Option<CudaSlice<u8>>; Slot::ALL.len()],
    /// Page-locked and write-combined: what is uploaded goes through it at the bus's speed, and it is never read here.
    staging: Option<PinnedHostSlice<f32>>,
    /// Something may still be read from there.
    uploading: bool,
}

impl Lane {
    fn new(context: &Arc<CudaContext>) -> Result<Self, Failure> {
        let stream = context.new_stream().map_err(during("open"))?;
        Ok(Self { stream, slots: [const { None }; Slot::ALL.len()], staging: None, uploading: false })
    }

    /// Makes room in a slot.
    pub fn reserve(&mut self, slot: Slot, bytes: usize) -> Result<(), Failure> {
        let held = &mut self.slots[slot as usize];
        if held.as_ref().is_none_or(|slice| slice.len() < bytes) {
            *held = None; // first, so that both are never held
            // SAFETY: every kernel and copy writes what others read of a slot before they do.
            *held = Some(unsafe { self.stream.alloc(bytes) }.map_err(during("allocate"))?);
        }
        Ok(())
    }

    fn slot(&mut self, slot: Slot) -> Result<&mut CudaSlice<u8>, Failure> {
        self.slots[slot as usize].as_mut().ok_or_else(unreserved)
    }

    /// Zeros in the first bytes of a slot.
    pub fn clear(&mut self, slot: Slot, bytes: usize) -> Result<(), Failure> {
        let stream = self.stream.clone();
        stream.memset_zeros(&mut self.slot(slot)?.slice_mut(..bytes)).map_err(during("copy"))
    }

    /// Copies floats there. Returns before they have arrived.
    pub fn upload(&mut self, device: &Device, slot: Slot, values: &[f32]) -> Result<(), Failure> {
        self.reserve(slot, size_of_val(values))?;
        if self.staging.as_ref().is_none_or(|s| s.len() < values.len()) {
            self.staging = None;
            // SAFETY: all that is uploaded is written first.
            self.staging = Some(unsafe { device.context.alloc_pinned(values.len()) }.map_err(during("allocate"))?);
        }
        let stream = self.stream.clone();
        if std::mem::replace(&mut self.uploading, true) {
            stream.synchronize().map_err(during("wait"))?; // the driver may still read what was staged last
        }
        let staging = self.staging.as_mut().ok_or_else(unreserved)?;
        let staged = &mut staging.as_mut_slice().map_err(during("copy"))?[..values.len()];
        staged.copy_from_slice(values);
        let held = self.slots[slot as usize].as_mut().ok_or_else(unreserved)?;
        // SAFETY: the driver aligns allocations to 256 bytes, and any bits are floats.
        let mut there = unsafe { held.transmute_mut::<f32>(values.len()) }.ok_or_else(unreserved)?;
        stream.memcpy_htod(&*staged, &mut there).map_err(during("copy"))
    }

    /// Copies floats here; they are there after [`Lane::wait`].
    pub fn download(&mut self, slot: Slot, to: &mut [f32]) -> Result<(), Failure> {
        let stream = self.stream.clone();
        let held = self.slot(slot)?;
        // SAFETY: as in `upload`.
        let there = unsafe { held.transmute::<f32>(to.len()) }.ok_or_else(unreserved)?;
        stream.memcpy_dtoh(&there, to).map_err(during("copy"))
    }

    /// Copies bytes here; they are there after [`Lane::wait`].
    pub fn download_bytes(&mut self, slot: Slot, to: &mut [u8]) -> Result<(), Failure> {
        let stream = self.stream.clone();
        let there = self.slot(slot)?.slice(..to.len());
        stream.memcpy_dtoh(&there, to).map_err(during("copy"))
    }

    /// Copies a slot to another of its size, on the device.
    pub fn copy(&mut self, from: Slot, to: Slot) -> Result<(), Failure> {
        let mut target = self.slots[to as usize].take().ok_or_else(unreserved)?;
        let copied = self.slots[from as usize].as_ref().ok_or_else(unreserved).and_then(|source| {
            let bytes = source.len().min(target.len());
            self.stream.memcpy_dtod(&source.slice(..bytes), &mut target.slice_mut(..bytes)).map_err(during("copy"))
        });
        self.slots[to as usize] = Some(target);
        copied
    }

    /// Launches a kernel on the lane's memory.
    pub fn launch(&mut self, device: &Device, launch: &Launch) -> Result<(), Failure> {
        let function = device.functions.get(launch.kernel).ok_or_else(|| Failure::panicked("launch"))?;
        let mut builder = self.stream.launch_builder(function);
        for arg in &launch.args {
            match arg {
                Arg::Buffer(slot) => builder.arg(self.slots[*slot as usize].as_ref().ok_or_else(unreserved)?),
                Arg::U32(n) => builder.arg(n),
                Arg::U64(n) => builder.arg(n),
                Arg::F32(x) => builder.arg(x),
            };
        }
        let config = LaunchConfig { grid_dim: (launch.blocks, 1, 1), block_dim: (launch.threads, 1, 1), shared_mem_bytes: launch.shared };
        // SAFETY: `launch` lists the arguments that the kernel of that name takes, and slots were made as large as it says; the tests run the
        // same lists over memory with guarded ends.
        unsafe { builder.launch(config) }.map_err(during("launch"))?;
        Ok(())
    }

    /// Waits until all of it is done.
    pub fn wait(&mut self) -> Result<(), Failure> {
        self.stream.synchronize().map_err(during("wait"))?;
        self.uploading = false;
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Its memory goes next. Where the context is dead there is nothing to wait for.
        let _ = self.stream.synchronize();
    }
}

/// A slot that nobody made room in: a mistake of the caller's.
fn unreserved() -> Failure {
    Failure { op: "launch", status: "memory that was not reserved".into(), kind: Kind::Sticky }
}

/// The kernels, as the driver compiles them.
fn ptx() -> String {
    static DEFLATED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.ptx.z"));
    let mut text = String::new();
    // What `build.rs` deflated inflates; were it damaged, the driver would refuse it.
    let _ = ZlibDecoder::new(DEFLATED).read_to_string(&mut text);
    text
}
