//! One job without Node, for profilers: `quantize_once MODEL OUTPUT`. One thread, no gate, so that every run does the same.

use aq_core::progress::Silent;
use aq_core::{CancelToken, GivenConfig, Mode};
use aq_engine::Control;
use aq_engine::job::{QuantizeRequest, quantize};
use aq_engine::supervise::supervise;
use serde_json::json;
use std::sync::Arc;

fn main() -> Result<(), String> {
    let mut args = std::env::args_os().skip(1);
    let (Some(model), Some(output)) = (args.next(), args.next()) else { return Err("usage: quantize_once MODEL OUTPUT".into()) };
    let options = json!({"minAccuracy": 0, "numThreads": 1, "device": "cpu", "overwrite": true});
    let config = GivenConfig::from_value(options).map_err(|issues| format!("{issues:?}"))?;
    let request = QuantizeRequest { model_path: model.into(), output_path: output.into(), mode: Mode::Diffusion, config };
    let control = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)));
    supervise(&control, move |control| quantize(&request, control)).map(drop).map_err(|error| error.texts().message())
}
