/** The twelve contract tests: what every caller may rely on when something fails. Their tables are in helpers. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test, vi } from 'vitest';
import * as aq from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT } from './helpers/cli.js';
import * as cases from './helpers/contract-cases.js';
import { ditTensors, gaussian, writeModel } from './helpers/models.js';
import { PROVOCATIONS } from './helpers/provocations.js';
import { sampleError } from './helpers/sample-error.js';
import { tempDir } from './helpers/temp.js';
import { hashes, listing } from './helpers/tree.js';

const CLASSES = {
  QuantizationError: aq.QuantizationError,
  ConfigurationError: aq.ConfigurationError,
  ValidationError: aq.ValidationError,
  ModelNotFoundError: aq.ModelNotFoundError,
  MetadataError: aq.MetadataError,
  ShapeMismatchError: aq.ShapeMismatchError,
  AbortError: aq.AbortError,
} as const;
const make = (options: unknown) => () => new aq.DiffusionQuantConfig(options as never);
const NOWHERE = { modelPath: '/nowhere/model', outputPath: '/nowhere/out' };

/** The error of a call that must reject and must not throw. */
function rejected(call: () => Promise<unknown>): Promise<aq.AnyArrowQuantError> {
  let promise: Promise<unknown> | undefined;
  expect(() => {
    promise = call();
  }).not.toThrow();
  return caught(() => promise);
}

describe('invalid bit width error', () => {
  test.each(cases.BAD_BIT_WIDTHS)('%s', async (bitWidth, shown) => {
    const viaJob = () => aq.quantizeDiffusionModel({ ...NOWHERE, config: { bitWidth: bitWidth as never } });
    for (const error of [await caught(make({ bitWidth })), await rejected(viaJob)]) {
      expect(error).toBeInstanceOf(aq.ConfigurationError);
      expect(error.code).toBe('AQ_INVALID_BIT_WIDTH');
      expect(error.message).toContain(`Invalid bit width: ${shown}. Must be 2, 4, or 8.`);
      expect(error.message).toContain('Hint:');
      const { issues } = error as aq.ConfigurationError;
      expect(issues.map((issue) => issue.path)).toEqual(['bitWidth']);
    }
  });
});

describe('invalid modality error', () => {
  test.each(['hologram', 'IMAGE', ' image', '', 5])('%j', async (modality) => {
    for (const call of [make({ modality }), () => aq.quantizeDiffusionModel({ ...NOWHERE, modality } as never)]) {
      const error = (await caught(call)) as aq.ConfigurationError;
      expect(error.code).toBe('AQ_INVALID_CONFIG');
      expect(error.issues.map((issue) => issue.path)).toEqual(['modality']);
      for (const known of cases.MODALITIES) expect(error.message).toContain(`'${known}'`);
    }
  });
  test('video is accepted', async () => {
    expect(make({ modality: 'video' })().modality).toBe('video');
    const job = await caught(() => aq.quantizeDiffusionModel({ ...NOWHERE, modality: 'video' }));
    expect(job.code).toBe('AQ_MODEL_NOT_FOUND');
  });
});

describe('invalid deployment profile error', () => {
  test.each(['mobile', 'Edge', 1])('%j', async (deploymentProfile) => {
    const viaJob = () => aq.quantizeDiffusionModel({ ...NOWHERE, deploymentProfile } as never);
    for (const call of [make({ deploymentProfile }), viaJob]) {
      const error = (await caught(call)) as aq.ConfigurationError;
      expect(error).toBeInstanceOf(aq.ConfigurationError);
      expect(error.issues.map((issue) => issue.path)).toEqual(['deploymentProfile']);
      for (const known of cases.PROFILE_NAMES) expect(error.message).toContain(`'${known}'`);
    }
  });
});

describe('invalid profile from profile', () => {
  test.each([['mobile'], [], ['__proto__'], ['constructor'], [null], [1]])('fromProfile(%j) throws', (...args) => {
    const call = () => (aq.DiffusionQuantConfig.fromProfile as (...args: unknown[]) => unknown)(...args);
    expect(call).toThrow(aq.ConfigurationError);
    expect(call).toThrow("'edge', 'local' or 'cloud'");
  });
  test.each(cases.PROFILE_NAMES)('%s gives exactly its values', (deploymentProfile) => {
    const config = aq.DiffusionQuantConfig.fromProfile(deploymentProfile);
    expect(config).toMatchObject({ ...cases.ALL_PROFILES, ...cases.PROFILES[deploymentProfile], deploymentProfile });
    expect(config.given).toEqual({ deploymentProfile });
  });
});

describe('model not found error', () => {
  test.each(cases.MISSING_MODELS)('%s', async (_, prepare, details, errno) => {
    const folder = tempDir();
    const modelPath = prepare(folder);
    const before = listing(folder);
    const error = (await rejected(() =>
      aq.quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out') }),
    )) as aq.ModelNotFoundError;
    expect(error).toBeInstanceOf(aq.ModelNotFoundError);
    expect(error.details).toMatchObject(details);
    expect(error.path).toBe(error.details.what === 'shard' ? path.join(modelPath, 'two.safetensors') : modelPath);
    expect(error.message).toContain(error.path);
    expect((error.cause as NodeJS.ErrnoException | undefined)?.code).toBe(errno);
    expect(listing(folder)).toEqual(before);
  });
});

describe('error message contains hints', () => {
  const check = ({ message, hint, suggestions }: aq.ArrowQuantError) => {
    expect(hint).not.toBe('');
    expect(suggestions[0]).toBe(hint);
    if (suggestions.length > 1) expect(message).toContain(`Suggestions: (1) ${hint}, (2) ${suggestions[1]}`);
    else expect(message).toContain(`Hint: ${hint}`);
    expect(message.match(/ (Hint|Suggestions): /g)).toHaveLength(1);
  };
  test('all 30 codes', () => {
    expect(aq.ERROR_CODES).toHaveLength(30);
  });
  test.each([...aq.ERROR_CODES])('%s', async (code) => {
    const { hint } = aq.explainError(code);
    expect(hint).not.toBe('');
    check(sampleError(code));
    check(sampleError(code, [hint, 'do something else']));
    for (const provocation of PROVOCATIONS.filter((one) => one.code === code)) {
      check(await caught(() => provocation.run(tempDir())));
    }
  });
});

describe('exception inheritance', () => {
  const errors = aq.ERROR_CODES.map((code) => sampleError(code));

  test.each(Object.entries(CLASSES))('%s', (name, Class) => {
    const mine = errors.filter((error) => error.name === name);
    expect(mine.length).toBeGreaterThan(0);
    for (const error of mine) {
      expect(error).toBeInstanceOf(Class);
      expect(error).toBeInstanceOf(aq.ArrowQuantError);
      expect(error).toBeInstanceOf(Error);
      expect(aq.explainError(error.code).className).toBe(name);
      for (const [other, Sibling] of Object.entries(CLASSES)) expect(error instanceof Sibling).toBe(other === name);
      const chain = [Class.prototype, aq.ArrowQuantError.prototype, Error.prototype];
      for (let object: object = error, depth = 0; depth < chain.length; depth += 1) {
        object = Object.getPrototypeOf(object);
        expect(object).toBe(chain[depth]);
      }
    }
  });
  test('every code has one of these classes, but for the one of the base', () => {
    expect(errors.filter(({ name }) => !(name in CLASSES)).map(({ code }) => code)).toEqual(['AQ_NATIVE_LOAD']);
    expect(Object.getPrototypeOf(sampleError('AQ_NATIVE_LOAD'))).toBe(aq.ArrowQuantError.prototype);
  });
  test('a second copy of the package recognises the errors of the first, and the first those of the second', async () => {
    vi.resetModules();
    const copy = await import('../src-ts/index.js');
    expect(copy.ConfigurationError).not.toBe(aq.ConfigurationError);
    const { ConfigurationError, ModelNotFoundError, AbortError } = copy;
    for (const error of errors) {
      expect(error).toBeInstanceOf(copy.ArrowQuantError);
      expect(error instanceof ConfigurationError).toBe(error.name === 'ConfigurationError');
      expect(error instanceof ModelNotFoundError).toBe(error.name === 'ModelNotFoundError');
      expect(error instanceof AbortError).toBe(error.name === 'AbortError');
    }
    const error = await caught(make({ bitWidth: 3 }));
    expect(copy.isArrowQuantError(error, 'AQ_INVALID_BIT_WIDTH')).toBe(true);
    expect(copy.isArrowQuantError(error, 'AQ_IO')).toBe(false);
    const theirs = await caught(() => new copy.DiffusionQuantConfig({ bitWidth: 3 as never }));
    expect(theirs).toBeInstanceOf(aq.ConfigurationError);
    expect(theirs).not.toBeInstanceOf(aq.MetadataError);
    expect(new copy.DiffusionQuantConfig(new aq.DiffusionQuantConfig({ bitWidth: 8 })).bitWidth).toBe(8);
  });
  test("a user's subclass is not matched by its siblings", () => {
    class Mine extends aq.QuantizationError {}
    class Other extends aq.QuantizationError {}
    const mine = new Mine(sampleError('AQ_IO').toJSON() as never);
    expect(mine).toBeInstanceOf(Mine);
    expect(mine).toBeInstanceOf(aq.QuantizationError);
    expect(mine).not.toBeInstanceOf(Other);
    expect(sampleError('AQ_IO')).not.toBeInstanceOf(Mine);
  });
});

describe('error propagation from Rust', () => {
  type Sent = { readonly json: unknown; readonly stack: string; readonly isOfClass: boolean };
  type Way = (job: aq.QuantizeDiffusionModelOptions, className: keyof typeof CLASSES) => Promise<Sent>;

  const sent = (error: aq.ArrowQuantError, className: keyof typeof CLASSES): Sent => ({
    json: error.toJSON(),
    stack: error.stack ?? '',
    isOfClass: error instanceof CLASSES[className],
  });
  const viaAwait: Way = async (job, className) => sent(await caught(() => aq.quantizeDiffusionModel(job)), className);
  const viaThen: Way = (job, className) =>
    aq.quantizeDiffusionModel(job).then(
      () => expect.fail('expected a rejection'),
      (error: aq.ArrowQuantError) => sent(error, className),
    );
  const viaWorker: Way = async (job, className) => {
    // The caller is the text below, which stands in this file; sourceURL says so to the worker.
    const script = `const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.entry).then(async (aq) => {
        const error = await aq.quantizeDiffusionModel(workerData.job).catch((e) => e);
        const isOfClass = error instanceof aq[workerData.className];
        parentPort.postMessage({ json: error.toJSON(), stack: error.stack, isOfClass });
      });
      //# sourceURL=${import.meta.filename}`;
    const entry = pathToFileURL(path.join(ROOT, 'dist/index.js')).href;
    const worker = new Worker(script, { eval: true, workerData: { entry, job, className } });
    return new Promise<Sent>((resolve, reject) => worker.once('message', resolve).once('error', reject)).finally(() =>
      worker.terminate(),
    );
  };

  describe.each([
    ['await', viaAwait],
    ['then', viaThen],
    ['a worker thread', viaWorker],
  ] as const)('with %s', (_, way) => {
    test.each(cases.NATIVE_CASES)('$name', async ({ make: prepare, code, className, details, causes }) => {
      const folder = tempDir();
      const modelPath = prepare(folder);
      const job = { modelPath, outputPath: path.join(folder, 'out'), bitWidth: 8, minAccuracy: 1 } as const;
      const { json, stack, isOfClass } = await way(job, className);
      expect(isOfClass).toBe(true);
      const error = aq.errorFromJSON(json);
      expect(error).toMatchObject({ code, name: className, details });
      expect(error.toJSON().causes).toMatchObject(
        causes.map((cause) => ({ code: cause.code, message: expect.stringMatching(cause.message) })),
      );
      expect(error.context).toMatchObject({
        operation: 'quantizeDiffusionModel',
        modelPath,
        outputPath: job.outputPath,
      });
      const [header, firstFrame] = stack.split('\n');
      expect(header).toBe(`${className}: ${error.message}`);
      expect(firstFrame).toContain(path.basename(import.meta.filename));
    });
  });
  test('the cause of a failed file operation looks as one of Node', async () => {
    const folder = tempDir();
    const modelPath = cases.NATIVE_CASES[1]?.make(folder) ?? '';
    const error = await caught(() => aq.quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out') }));
    expect(error.cause).toBeInstanceOf(Error);
    expect(error.cause).toMatchObject({ code: 'EISDIR', syscall: 'read', path: path.join(modelPath, 'metadata.json') });
    expect((error.cause as NodeJS.ErrnoException).errno).toBeLessThan(0);
  });
});

describe('validateQuality error handling', () => {
  const prepare = async () => {
    const folder = tempDir();
    const modelPath = writeModel(folder);
    const outputPath = path.join(folder, 'out');
    await aq.quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 2, minAccuracy: 0 });
    return { folder, modelPath, outputPath };
  };
  test('missing original, missing quantized', async () => {
    const { folder, modelPath, outputPath } = await prepare();
    const gone = path.join(folder, 'gone');
    for (const call of [() => aq.validateQuality(gone, outputPath), () => aq.validateQuality(modelPath, gone)]) {
      const error = await rejected(call);
      expect(error).toBeInstanceOf(aq.ModelNotFoundError);
      expect((error as aq.ModelNotFoundError).path).toBe(gone);
    }
  });
  test('differing shapes', async () => {
    const { folder, outputPath } = await prepare();
    const other = writeModel(folder, ditTensors(4, 64), 'other');
    const error = (await rejected(() => aq.validateQuality(other, outputPath))) as aq.ShapeMismatchError;
    expect(error).toBeInstanceOf(aq.ShapeMismatchError);
    expect(error).toMatchObject({ expected: [64, 64], actual: [128, 128], details: { subject: 'model' } });
  });
  test('low similarity resolves with passed: false', async () => {
    const { modelPath, outputPath } = await prepare();
    const report = await aq.validateQuality(modelPath, outputPath, { minAccuracy: 1 });
    expect(report).toMatchObject({ passed: false, threshold: 1 });
    expect(report.failed).toHaveLength(report.layers.length);
    expect(report.worstLayer?.cosine).toBe(Math.min(...report.layers.map(({ cosine }) => cosine)));
    expect(await aq.validateQuality(modelPath, outputPath, { minAccuracy: 0.5 })).toMatchObject({ passed: true });
  });
  test.each([-0.1, 1.1, Number.NaN, '0.5', null])('threshold %s', async (minAccuracy) => {
    const error = await rejected(() => aq.validateQuality('/nowhere/a', '/nowhere/b', { minAccuracy } as never));
    expect(error.code).toBe('AQ_INVALID_ACCURACY');
  });
});

describe('quantize method error handling', () => {
  const row = gaussian(64);
  const withNaN = gaussian(64).fill(Number.NaN, 5, 6);
  test.each([
    ['an empty record', {}, {}, 'AQ_INVALID_CONFIG', aq.ConfigurationError],
    ['a Float64Array', { w: new Float64Array(64) }, {}, 'AQ_INVALID_CONFIG', aq.ConfigurationError],
    ['NaN', { w: { data: withNaN, shape: [1, 64] } }, {}, 'AQ_NON_FINITE_WEIGHTS', aq.QuantizationError],
    ['a shape that does not fit', { w: { data: row, shape: [2, 31] } }, {}, 'AQ_SHAPE_MISMATCH', aq.ShapeMismatchError],
    ['bitWidth 3', { w: row }, { bitWidth: 3 }, 'AQ_INVALID_BIT_WIDTH', aq.ConfigurationError],
  ])('%s', async (_, weights, options, code, Class) => {
    const error = await rejected(() => new aq.ArrowQuantV2().quantize(weights as never, options as never));
    expect(error.code).toBe(code);
    expect(error).toBeInstanceOf(Class);
  });
  test('continueOnError keeps the good ones', async () => {
    const weights = { a: row, b: withNaN, c: { data: row, shape: [2, 2] }, d: row };
    const { layers, failures } = await aq.quantize(weights, { continueOnError: true });
    expect(layers.map(({ name }) => name)).toEqual(['a', 'd']);
    expect(failures.map(({ layer, error }) => [layer, error.code])).toEqual([
      ['b', 'AQ_NON_FINITE_WEIGHTS'],
      ['c', 'AQ_SHAPE_MISMATCH'],
    ]);
  });
  test('the same result before and after a model job', async () => {
    const weights = { w: { data: gaussian(32 * 128), shape: [32, 128] } };
    const before = await aq.quantize(weights, { bitWidth: 4 });
    const folder = tempDir();
    const job = { modelPath: writeModel(folder), outputPath: path.join(folder, 'out'), bitWidth: 8 } as const;
    await aq.quantizeDiffusionModel({ ...job, minAccuracy: 0 });
    await caught(() => aq.quantizeDiffusionModel({ ...job, minAccuracy: 1, overwrite: true }));
    expect(await aq.quantize(weights, { bitWidth: 4 })).toEqual(before);
  });
});

describe('progress callback error handling', () => {
  const thrower = () => {
    throw new TypeError('mine');
  };
  test.each([
    ['throws', thrower],
    ['rejects', async () => thrower()],
  ])('a callback that %s', async (_, fail) => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const folder = tempDir();
    const modelPath = writeModel(folder, ditTensors(30, 64));
    const run = (name: string, onProgress?: aq.ProgressCallback) =>
      aq.quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, name), minAccuracy: 0, onProgress });
    await run('without');
    const events: aq.ProgressEvent[] = [];
    const result = await run('with', (event) => {
      events.push(event);
      return fail();
    });
    const settledWith = events.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(events).toHaveLength(settledWith);
    expect(hashes(path.join(folder, 'with'))).toEqual(hashes(path.join(folder, 'without')));
    expect(result.callbackErrors).toEqual({ count: settledWith, first: { name: 'TypeError', message: 'mine' } });
    expect(result.warnings.filter(({ code }) => code === 'AQ_WARN_CALLBACK')).toHaveLength(1);
    expect(warned.mock.calls.map(([, options]) => options)).toEqual([
      { type: 'ArrowQuantWarning', code: 'AQ_WARN_CALLBACK' },
    ]);
    expect(events.filter(({ final }) => final)).toHaveLength(1);
    expect(events.at(-1)).toMatchObject({ final: true, fraction: 1 });
    vi.restoreAllMocks();
  });
});

describe('config validation comprehensive', () => {
  test('every combination of good values', () => {
    let count = 0;
    for (const bitWidth of cases.WIDTHS)
      for (const groupSize of cases.GROUPS)
        for (const modality of cases.MODALITIES)
          for (const deploymentProfile of cases.PROFILE_NAMES)
            for (const numTimeGroups of [1, 10, 100])
              for (const minAccuracy of [0, 0.7, 1]) {
                const given = { bitWidth, groupSize, modality, deploymentProfile, numTimeGroups, minAccuracy };
                expect(make(given)()).toMatchObject(given);
                count += 1;
              }
    expect(count).toBe(3 * 4 * 5 * 3 * 3 * 3);
  });
  test.each(cases.BAD_CONFIGS)('$name', async ({ config, code, issues }) => {
    const error = (await caught(make(config))) as aq.ConfigurationError;
    expect(error).toBeInstanceOf(aq.ConfigurationError);
    expect(error.code).toBe(code);
    expect(error.issues).toHaveLength(issues.length);
    expect(error.issues).toMatchObject(issues);
    expect(error.message).toContain(`Hint: ${error.hint}`);
  });
});
