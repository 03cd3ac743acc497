//! Files that are sound, of records that make no sense; and columns that are not those of calibration.

use crate::forms::{self, Rows, Typing, batch, sample};
use crate::{content, open};
use aq_io::CalibrationError;
use aq_testkit::{Float, SafetensorsFile};
use arrow_array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow_ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use std::sync::Arc;

/// The problem of a file, found when it is opened or when its rows are read.
fn problem(extension: &str, bytes: &[u8]) -> (usize, String) {
    let error = match open(extension, bytes) {
        Err(error) => error,
        Ok((_dir, calibration)) => content(&calibration).expect_err("there is a problem"),
    };
    match error {
        CalibrationError::Record { record, problem, .. } => (record, problem),
        other => unreachable!("{extension}: {other:?}"),
    }
}

/// One file of each way in which records are found.
fn files(list: &[Rows]) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = vec![("jsonl", forms::json_lines(list)), ("safetensors", forms::safetensors(list, Float::F32))];
    for typing in Typing::ALL {
        files.push(("arrow", forms::arrow_file(list, typing, None)));
        files.push(("parquet", forms::parquet(list, typing, Compression::SNAPPY, 1000)));
    }
    files
}

fn changed(number: usize, change: impl Fn(&mut Rows)) -> Vec<Rows> {
    let mut list = sample();
    change(&mut list[number]);
    list
}

#[test]
fn records_that_make_no_sense_in_every_form() {
    let two: fn(&mut Rows) = |r| {
        r.count += 1;
    };
    let cases: [(Vec<Rows>, &str); 8] = [
        (changed(4, |r| r.step = -3), "negative timestep -3"),
        (changed(4, |r| (r.count, r.data) = (0, vec![])), "0 rows"),
        (changed(4, |r| (r.in_features, r.data) = (0, vec![])), "shape"),
        (changed(4, two), "holds 51 values, which is not 4 rows of 17"),
        (changed(4, |r| r.weight = -1.0), "weight -1"),
        (changed(4, |r| (r.layer, r.step) = ("blocks.1.to_q".into(), 441)), "values in a row"),
        (changed(4, |r| *r = sample()[1].clone()), "layer and timestep of record 1"),
        (changed(4, |r| (r.count, r.in_features) = (17, 3)), "3 values in a row"),
    ];
    for (list, says) in cases {
        for (extension, bytes) in files_that_can_say(&list, says) {
            let (record, problem) = problem(extension, &bytes);
            // Tensor data are in the order of the list there, too.
            assert!(record == 4 && problem.contains(says), "{extension}: record {record} {problem}, expected {says}");
        }
    }
}

/// Not every form can hold every mistake: tensors have a true shape, no weight, and names that are unique.
fn files_that_can_say(list: &[Rows], says: &str) -> Vec<(&'static str, Vec<u8>)> {
    let tensors = list.iter().all(|r| r.count * r.in_features == r.data.len()) && !says.contains("weight") && !says.contains("of record");
    if tensors {
        return files(list);
    }
    let mut files = vec![("jsonl", forms::json_lines(list))];
    for typing in Typing::ALL {
        files.push(("arrow", forms::arrow_file(list, typing, None)));
        files.push(("arrow", forms::arrow_stream(list, typing, Some(arrow_ipc::CompressionType::LZ4_FRAME))));
        files.push(("parquet", forms::parquet(list, typing, Compression::SNAPPY, 2)));
    }
    files
}

#[test]
fn values_that_are_not_finite() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let list = changed(2, |r| r.data[3] = value);
        for (extension, bytes) in files(&list).into_iter().filter(|(e, _)| *e != "jsonl") {
            let (record, problem) = problem(extension, &bytes);
            assert!(record == 2 && problem.contains("at [0, 3]"), "{extension}: {record} {problem}");
            // Rows before it can be had, and a failed read leaves nothing behind.
            let (_dir, calibration) = open(extension, &bytes).unwrap();
            let index = calibration.steps("time_embed").iter().position(|s| s.step == 980).unwrap();
            let mut out = vec![1.0];
            assert!(calibration.read("time_embed", index, 1, &mut out).is_err());
            assert_eq!(out, [1.0]);
        }
    }
}

#[test]
fn empty_files() {
    for (extension, bytes) in files(&[]) {
        if extension == "arrow" || extension == "parquet" || extension == "jsonl" || extension == "safetensors" {
            let (_, problem) = problem(extension, &bytes);
            assert_eq!(problem, "holds no rows", "{extension}");
        }
    }
    assert_eq!(problem("jsonl", b"\n \r\n").1, "holds no rows");
}

#[test]
fn tensors_that_are_no_rows() {
    let one = |name: &str, dtype: &str, shape: &[usize], n: usize| {
        SafetensorsFile::new().f32("a@1", &[1, 1], &[1.0]).tensor(name, dtype, shape, vec![0; n]).bytes()
    };
    for (bytes, says) in [
        (one("timesteps", "F32", &[1, 1], 4), "is named \"timesteps\""),
        (one("a@", "F32", &[1, 1], 4), "is named"),
        (one("a@1.5", "F32", &[1, 1], 4), "is named"),
        (one("a@+1", "F32", &[1, 1], 4), "is named"),
        (one("a@2#max", "F32", &[1], 4), "is named"),
        (one("a@99999999999999999999", "F32", &[1, 1], 4), "is named"),
        (one("a@2", "I32", &[1, 1], 4), "holds I32"),
        (one("a@2", "F32", &[1], 4), "shape [1]"),
        (one("a@2", "F32", &[1, 1, 1], 4), "shape [1, 1, 1]"),
        (one("a@2#m2", "F32", &[1, 1], 4), "shape [1, 1]"),
        (one("a@01", "F32", &[1, 1], 4), "layer and timestep of record 0"),
        (one("@2", "F32", &[1, 1], 4), "names no layer"),
        (one("b@-1", "F32", &[1, 1], 4), "negative"),
    ] {
        let (record, problem) = problem("safetensors", &bytes);
        assert!(record == 1 && problem.contains(says), "{record} {problem}, expected {says}");
    }
}

#[test]
fn json_errors_have_their_place() {
    let good = r#"{"layer":"a","timestep":1,"shape":[1,2],"data":[1,2.5]}"#;
    for (line, column) in [
        (r#"{"layer":"b","timestep":1,"shape":[1,2],"data":[1,]}"#, 51),
        (r#"{"layer":"b","timestep":1,"shape":[1,2],"data":[1,1e39]}"#, 54),
        (r#"{"layer":"b","timestep":1,"shape":[1,2],"data":[1,NaN]}"#, 51),
        (r#"{"layer":"b","timestep":1.5,"shape":[1,2],"data":[1,2]}"#, 27),
        (r#"{"layer":"b","timestep":1,"shape":[1,2]}"#, 40),
        (r#"{"layer":"b","timestep":1,"shape":[1,2],"data":[1,2]"#, 52),
        ("[1]", 3),
        ("7", 1),
    ] {
        let text = format!("{good}\r\n\n{line}\n");
        let Err(CalibrationError::Json { line: at, column: found, .. }) = open("jsonl", text.as_bytes()) else { panic!("{line}") };
        assert_eq!(at, 3, "{line}");
        assert!(found.abs_diff(column) <= 1, "{line}: {found}");
    }
    let deep = "[".repeat(200);
    assert!(matches!(open("jsonl", deep.as_bytes()), Err(CalibrationError::Json { line: 1, .. })));
    let (record, said) = problem("jsonl", format!("{good}\n{}\n", good.replace("[1,2]", "[2]")).as_bytes());
    assert!(record == 1 && said.contains("shape [2]"), "{said}");
    // Other keys are left alone; an even larger file would not be.
    assert!(open("jsonl", good.replace("{\"layer", "{\"note\":[[{}]],\"layer").as_bytes()).is_ok());
}

fn written(batch: &RecordBatch) -> [(&'static str, Vec<u8>); 2] {
    let mut arrow = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a test's own file can be made");
    arrow.write(batch).expect("a test's own file can be made");
    let mut parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a test's own file can be made");
    parquet.write(batch).expect("a test's own file can be made");
    [
        ("arrow", arrow.into_inner().expect("a test's own file can be made")),
        ("parquet", parquet.into_inner().expect("a test's own file can be made")),
    ]
}

fn is_of_its_form(error: &CalibrationError, extension: &str) -> bool {
    match error {
        CalibrationError::Arrow { .. } => extension == "arrow",
        CalibrationError::Parquet { .. } => extension == "parquet",
        _ => false,
    }
}

#[test]
fn columns_that_are_missing_or_of_another_type() {
    let whole = batch(&sample(), Typing::Documented);
    let n = whole.num_rows();
    let names = whole.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    for (i, name) in names.iter().enumerate().filter(|(_, n)| *n != "note") {
        let others: Vec<usize> = (0..names.len()).filter(|&j| j != i).collect();
        for (extension, bytes) in written(&whole.project(&others).unwrap()) {
            match open(extension, &bytes) {
                Ok((_dir, calibration)) => assert!(name == "weight" && content(&calibration).is_ok(), "{name}"),
                Err(error) => assert!(name != "weight" && is_of_its_form(&error, extension), "{name}: {error:?}"),
            }
        }
        // Integers are none of these, and texts are no integers.
        let wrong: ArrayRef = if ["timestep", "rows", "in_features"].contains(&name.as_str()) {
            Arc::new(StringArray::from(vec!["x"; n]))
        } else {
            Arc::new(Int32Array::from(vec![1; n]))
        };
        let columns = names.iter().zip(whole.columns()).map(|(m, c)| (m.clone(), if m == name { wrong.clone() } else { c.clone() }));
        for (extension, bytes) in written(&RecordBatch::try_from_iter(columns).unwrap()) {
            let error = open(extension, &bytes).unwrap_err();
            assert!(is_of_its_form(&error, extension), "{name}: {error:?}");
        }
    }
}

#[test]
fn nulls_are_told() {
    let whole = batch(&sample(), Typing::Documented);
    let n = whole.num_rows();
    let some = |i: usize| i != 4;
    for (name, says) in
        [("timestep", "no timestep"), ("layer_name", "names no layer"), ("rows", "no rows"), ("data", "no data"), ("weight", "")]
    {
        let column: ArrayRef = match name {
            "layer_name" => Arc::new((0..n).map(|i| some(i).then(|| format!("layer {i}"))).collect::<StringArray>()),
            "data" => Arc::new((0..n).map(|i| some(i).then(|| vec![0u8; 4])).collect::<arrow_array::LargeBinaryArray>()),
            "weight" => Arc::new((0..n).map(|i| some(i).then_some(2.0)).collect::<Float32Array>()),
            _ => Arc::new((0..n as i32).map(|i| some(i as usize).then_some(1 + i)).collect::<Int32Array>()),
        };
        let ones: ArrayRef = Arc::new(Int32Array::from(vec![1; n]));
        let distinct: ArrayRef = Arc::new((0..n as i32).collect::<Int32Array>());
        let four: ArrayRef = Arc::new(arrow_array::LargeBinaryArray::from_iter_values(vec![[0u8; 4]; n]));
        let pick = |m: &str| match m {
            _ if m == name => column.clone(),
            "rows" | "in_features" => ones.clone(),
            "timestep" => distinct.clone(),
            "data" => four.clone(),
            _ => whole.column_by_name(m).unwrap().clone(),
        };
        let columns = ["layer_name", "timestep", "rows", "in_features", "data", "weight"].map(|m| (m, pick(m)));
        // Same names and other steps: rows of 1 value everywhere.
        for (extension, bytes) in written(&RecordBatch::try_from_iter(columns).unwrap()) {
            if name == "weight" {
                let (_dir, calibration) = open(extension, &bytes).unwrap();
                assert_eq!(content(&calibration).unwrap().iter().filter(|r| r.weight == 1.0).count(), 1);
                continue;
            }
            if name == "rows" {
                // Their number is that of the record there; only the null is at question.
                let error = open(extension, &bytes).unwrap_err();
                assert!(matches!(error, CalibrationError::Record { .. }), "{error:?}");
                continue;
            }
            let (record, problem) = problem(extension, &bytes);
            assert!(record == 4 && problem.contains(says), "{extension}: record {record} {problem}, expected {says}");
        }
    }
}
