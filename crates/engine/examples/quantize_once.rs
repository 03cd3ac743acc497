//! One job without Node, for profilers and for measuring methods: `quantize_once MODEL OUTPUT [OPTIONS [TUNING]]`, the last two as JSON.
//! Without options one thread and no gate, so that every run does the same. `TUNING` switches parts of the methods off, which no option
//! does (`aq_engine::tuning`). Prints the report as JSON where options are given.
#![expect(clippy::print_stdout, reason = "a command for developers")]

use aq_core::progress::Silent;
use aq_core::{CancelToken, GivenConfig, Mode};
use aq_engine::Control;
use aq_engine::job::{QuantizeRequest, quantize};
use aq_engine::supervise::supervise;
use aq_engine::tuning::Tuning;
use serde_json::json;
use std::sync::Arc;

fn main() -> Result<(), String> {
    let mut args = std::env::args_os().skip(1);
    let (Some(model), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: quantize_once MODEL OUTPUT [OPTIONS [TUNING]]".into());
    };
    let mut more = args.map(|a| a.to_string_lossy().into_owned());
    let given = more.next();
    let options = match &given {
        Some(text) => serde_json::from_str(text).map_err(|e| e.to_string())?,
        None => json!({"minAccuracy": 0, "numThreads": 1, "device": "cpu", "overwrite": true}),
    };
    let tuning: Tuning = more.next().map_or_else(|| Ok(Tuning::default()), |t| serde_json::from_str(&t)).map_err(|e| e.to_string())?;
    let config = GivenConfig::from_value(options).map_err(|issues| format!("{issues:?}"))?;
    let request = QuantizeRequest { model_path: model.into(), output_path: output.into(), mode: Mode::Diffusion, config, tuning };
    let control = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)));
    let report = supervise(&control, move |control| quantize(&request, control)).map_err(|error| error.texts().message())?;
    if given.is_some() {
        println!("{}", serde_json::to_string(&report).map_err(|e| e.to_string())?);
    }
    Ok(())
}
