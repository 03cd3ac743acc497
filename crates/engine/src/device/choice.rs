//! Whether a device is worth it, where that is left to us. What a job could give to it is encoded here and there, a little of it, copies and all:
//! transfers are most of what a device costs, and how fast they are is this machine's own.

use super::{Backend, Codes, Work, encode_codes, platform};
use aq_core::{Geometry, Scheme};
use aq_io::fault;
use aq_io::layout::EncodedRows;
use aq_kernels::{Scratch, Tuning};
use std::time::Instant;

/// Weights that are encoded to see how long it takes.
const SAMPLE: usize = 1 << 18;
/// A context and the compilation of the kernels take about as long, seconds: what the CPU does faster is not looked at further.
const OPENING: f64 = 1.0;
/// Workers that share a device while it is measured; more hide no more of the copies.
const MOST_WORKERS: usize = 4;

/// What a job could give to a device: the kind of layer that has most of the weights, and all the weights.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// How that kind is cut into groups.
    pub geometry: Geometry,
    /// How it is encoded.
    pub scheme: Scheme,
    /// Switches of the search.
    pub tuning: Tuning,
    /// Weights of all layers that a device could encode.
    pub weights: u64,
    /// Threads of the CPU.
    pub threads: usize,
}

impl Demand {
    /// Of layers with their schemes; `None` where a device would be given nothing.
    pub fn of<'a>(layers: impl Iterator<Item = (Geometry, &'a Scheme)>, tuning: Tuning, threads: usize) -> Option<Self> {
        let mut kinds: Vec<(Self, u64)> = Vec::new();
        for (geometry, &scheme) in layers {
            let weights = geometry.numel() as u64;
            let alike = |d: &Self| d.scheme.bits == scheme.bits && d.scheme.method == scheme.method && d.geometry.group == geometry.group;
            match kinds.iter_mut().find(|(demand, _)| alike(demand)) {
                Some((_, sum)) => *sum += weights,
                None => kinds.push((Self { geometry, scheme, tuning, weights: 0, threads }, weights)),
            }
        }
        let all = kinds.iter().map(|(_, weights)| weights).sum();
        kinds.into_iter().max_by_key(|(_, weights)| *weights).map(|(demand, _)| Self { weights: all, ..demand })
    }

    /// Made-up rows of that kind.
    fn rows(&self) -> Vec<f32> {
        let row = self.geometry.row();
        let rows = (SAMPLE / row).clamp(1, self.geometry.out);
        let mut random = fastrand::Rng::with_seed(1);
        (0..rows * row).map(|_| random.f32() + random.f32() + random.f32() - 1.5).collect()
    }

    fn work<'a>(&self, weights: &'a [f32]) -> Work<'a> {
        Work { geometry: self.geometry, scheme: self.scheme, tuning: self.tuning, weights, second: None }
    }

    /// Seconds that the CPU takes for all.
    fn on_cpu(&self) -> f64 {
        let weights = self.rows();
        let (work, mut out, mut scratch) = (self.work(&weights), EncodedRows::default(), Scratch::default());
        // Once for the buffers.
        encode_codes(&work, Codes::of(&work, &mut out), &mut scratch);
        let begun = Instant::now();
        encode_codes(&work, Codes::of(&work, &mut out), &mut scratch);
        begun.elapsed().as_secs_f64() / weights.len() as f64 * self.weights as f64 / self.threads as f64
    }

    /// Seconds that a device takes for all, with as many workers as the job has; or why it failed.
    fn on_device(&self, backend: &dyn Backend) -> Result<f64, String> {
        let (weights, workers) = (self.rows(), self.threads.min(MOST_WORKERS));
        let twice = || {
            let (work, mut out, mut scratch) = (self.work(&weights), EncodedRows::default(), Scratch::default());
            (0..2).try_for_each(|_| backend.encode(&work, Codes::of(&work, &mut out), &mut scratch).map(|_| ())).map_err(|e| e.status)
        };
        let all = || {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..workers).map(|_| scope.spawn(twice)).collect();
                threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into())))
            })
        };
        all()?; // once for streams and memory
        let begun = Instant::now();
        all()?;
        let encoded = 2 * workers * weights.len();
        Ok(begun.elapsed().as_secs_f64() / encoded as f64 * self.weights as f64)
    }
}

/// Why no device is even opened.
pub fn not_worth_opening(demand: Option<&Demand>) -> Option<String> {
    if let Err(reason) = platform::present() {
        return Some(reason.to_string());
    }
    if fault::ENABLED {
        return None; // its device is there to fail, and models of tests are small
    }
    let Some(demand) = demand else {
        return Some("second moments and blocks stay on the CPU, and nothing else is to be encoded".into());
    };
    let cpu = demand.on_cpu();
    (cpu < OPENING).then(|| format!("the CPU encodes this in about {cpu:.1} s, which is less than a device takes to start"))
}

/// Why the device is taken, or why it is not.
pub fn compare(backend: &dyn Backend, demand: Option<&Demand>) -> Result<String, String> {
    let Some(demand) = demand.filter(|_| !fault::ENABLED) else { return Ok("a device is there".into()) };
    let (device, cpu) = (demand.on_device(backend), demand.on_cpu());
    decided(&backend.name(), device, cpu)
}

fn decided(name: &str, device: Result<f64, String>, cpu: f64) -> Result<String, String> {
    match device {
        Ok(device) if device < cpu => Ok(format!("encoding takes it about {device:.1} s, the CPU {cpu:.1} s")),
        Ok(device) => Err(format!("encoding takes the CPU about {cpu:.1} s, {name} with its transfers {device:.1} s")),
        Err(status) => Err(format!("{name} failed when it was tried: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_core::{BitWidth, Method, ScaleDtype, ZeroKind};

    fn layer(out: usize, bits: BitWidth) -> (Geometry, Scheme) {
        let scale_dtype = ScaleDtype::for_bits(bits);
        let scheme = Scheme { bits, group_size: 64, zero: ZeroKind::Float, method: Method::Mse, scale_dtype, rotation: None, blocks: None };
        (Geometry::of(&[out, 256], 64).unwrap(), scheme)
    }

    #[test]
    fn the_kind_with_most_weights_stands_for_all() {
        let layers = [layer(10, BitWidth::Eight), layer(7, BitWidth::Four), layer(6, BitWidth::Four)];
        let demand = Demand::of(layers.iter().map(|(g, s)| (*g, s)), Tuning::default(), 2).unwrap();
        assert_eq!((demand.scheme.bits, demand.weights), (BitWidth::Four, 23 * 256));
        assert!(Demand::of(std::iter::empty(), Tuning::default(), 2).is_none());
        assert!(demand.on_cpu() > 0.0);
    }

    #[test]
    fn the_faster_one_is_taken_and_said_why() {
        assert_eq!(decided("GPU", Ok(1.0), 4.0).unwrap(), "encoding takes it about 1.0 s, the CPU 4.0 s");
        assert_eq!(decided("GPU", Ok(4.0), 1.0).unwrap_err(), "encoding takes the CPU about 1.0 s, GPU with its transfers 4.0 s");
        assert!(decided("GPU", Err("CUDA_ERROR_UNKNOWN".into()), 1.0).unwrap_err().ends_with("tried: CUDA_ERROR_UNKNOWN"));
    }
}
