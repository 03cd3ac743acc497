/** The facade around a job, with a stand-in for the addon. */
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  AbortError,
  ArrowQuantV2,
  ConfigurationError,
  compare,
  DiffusionQuantConfig,
  type ExportModelOptions,
  exportModel,
  inspect,
  inspectCalibration,
  openQuantizedModel,
  quantizeDiffusionModel,
  validateQuality,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { failure, StubNative, success } from './helpers/stub-native.js';
import { tempDir } from './helpers/temp.js';

let stub = new StubNative();
vi.mock('../src-ts/native.js', () => ({ loadNative: async () => stub }));
// What the stand-in makes is no output that a page could be about.
vi.mock('../src-ts/with-report.js', () => ({ withReport: async (result: object) => result }));
beforeEach(() => {
  stub = new StubNative();
});

const modelPath = '/models/a';
const outputPath = '/models/b';

describe('requests', () => {
  test('carry given options only, absolute paths and a profile', async () => {
    await quantizeDiffusionModel({
      modelPath: 'm',
      outputPath: pathToFileURL('/o x'),
      config: { bitWidth: 2 },
      layout: 'plain',
    });
    expect(stub.jobs[0]?.request).toEqual({
      operation: 'quantizeDiffusionModel',
      jobId: expect.stringMatching(/^[0-9a-f]{8}$/),
      modelPath: path.resolve('m'),
      outputPath: '/o x',
      mode: 'diffusion',
      config: { deploymentProfile: 'local', bitWidth: 2, layout: 'plain' },
    });
  });
  test('a profile name, a configuration, and the class', async () => {
    await quantizeDiffusionModel({ modelPath, outputPath, config: 'edge' });
    await new ArrowQuantV2({ mode: 'base' }).quantizeDiffusionModel(
      modelPath,
      outputPath,
      new DiffusionQuantConfig({ groupSize: 32 }),
    );
    expect(stub.jobs.map(({ request }) => [request.mode, request.config])).toEqual([
      ['diffusion', { deploymentProfile: 'edge' }],
      ['base', { deploymentProfile: 'local', groupSize: 32 }],
    ]);
  });
  test('validateQuality and inspect', async () => {
    await validateQuality('a', 'b', { minAccuracy: 0.5 });
    await new ArrowQuantV2().validateQuality('a', 'b');
    await inspect('a', { modality: 'image' });
    expect(stub.jobs.map(({ request: { operation, config } }) => [operation, config])).toEqual([
      ['validateQuality', { minAccuracy: 0.5 }],
      ['validateQuality', {}],
      ['inspect', { modality: 'image' }],
    ]);
  });
  test('compare and exportModel', async () => {
    stub.behave = () => success({ layers: [], warnings: [] });
    await compare('a', 'b', { numThreads: 3 });
    await exportModel({ from: 'a', to: 'b', layout: 'plain', plainDtype: 'bf16', overwrite: true });
    expect(stub.jobs.map(({ request }) => request)).toMatchObject([
      { operation: 'validateQuality', originalPath: path.resolve('a'), config: { numThreads: 3, minAccuracy: 0 } },
      {
        operation: 'exportModel',
        modelPath: path.resolve('a'),
        outputPath: path.resolve('b'),
        config: { layout: 'plain', plainDtype: 'bf16', overwrite: true },
      },
    ]);
  });
  test.each([
    [{ from: 'a', to: 'b' }, 'layout', 'a layout name'],
    [{ from: 'a', to: 'b', layout: 'auto' }, 'layout', 'a layout name'],
    [{ from: 'a', to: 'b', layout: 'sdnq', plainDtype: 'f16' }, 'plainDtype', "to be given only with layout 'plain'"],
    [{ from: 'a', to: 'a/b', layout: 'plain' }, 'to', 'a path apart from modelPath'],
    [{ from: 'a', layout: 'plain' }, 'to', 'a path or a file: URL'],
    [{ from: 'a', to: 'b', layout: 'plain', bitWidth: 4 }, 'bitWidth', 'a known option'],
  ])('exportModel refuses %j', async (options, at, expected) => {
    const error = (await caught(() => exportModel(options as ExportModelOptions))) as ConfigurationError;
    expect(error.issues[0]).toMatchObject({ path: at, expected });
    expect(stub.jobs).toEqual([]);
  });
  test('an open model', async () => {
    stub.behave = () => success({ id: 7, layers: [{ name: 'w', shape: [4, 2] }] });
    const model = await openQuantizedModel('a');
    expect(model.layers.map(({ name }) => name)).toEqual(['w']);
    expect(await model.dequantize('w', { firstRow: 1, rows: 2 })).toBeInstanceOf(Float32Array);
    await model.dequantize('w');
    expect(stub.reads).toEqual([
      { id: 7, name: 'w', first: 1, rows: 2 },
      { id: 7, name: 'w', first: 0, rows: undefined },
    ]);
    const ranges = [{ firstRow: -1 }, { rows: 0.5 }, { rows: 2 ** 32 }, { row: 1 }];
    for (const range of ranges)
      expect(await caught(() => model.dequantize('w', range))).toBeInstanceOf(ConfigurationError);
    model.close();
    model.close();
    expect(stub.closed).toEqual([7]);
    const error = (await caught(() => model.dequantize('w'))) as ConfigurationError;
    expect(error.issues).toMatchObject([{ path: 'model', expected: 'an open model', received: 'a closed one' }]);
  });
  test('inspectCalibration, with a model and without', async () => {
    await inspectCalibration('c.jsonl', { modelPath: 'm', components: ['unet'] });
    await inspectCalibration(pathToFileURL(path.resolve('c.parquet')));
    expect(stub.jobs.map(({ request }) => request)).toMatchObject([
      {
        operation: 'inspectCalibration',
        calibrationPath: path.resolve('c.jsonl'),
        modelPath: path.resolve('m'),
        config: { components: ['unet'] },
      },
      { calibrationPath: path.resolve('c.parquet'), config: {} },
    ]);
    expect(stub.jobs[1]?.request.modelPath).toBeUndefined();
  });
  test('options in config and beside it: equal ones pass, different ones do not', async () => {
    await quantizeDiffusionModel({
      modelPath,
      outputPath,
      config: { skipLayers: ['a'], bitWidth: 4 },
      skipLayers: ['a'],
      bitWidth: 4,
    });
    const call = () => quantizeDiffusionModel({ modelPath, outputPath, config: { bitWidth: 4 }, bitWidth: 8 });
    const error = (await caught(call)) as ConfigurationError;
    expect(error.issues).toMatchObject([{ path: 'bitWidth', expected: 'to be given once', received: '8 (number)' }]);
  });
  test('the call wins over a configuration from the environment', async () => {
    vi.stubEnv('ARROW_QUANT_BIT_WIDTH', '2');
    onTestFinished(() => void vi.unstubAllEnvs());
    await quantizeDiffusionModel({ modelPath, outputPath, config: DiffusionQuantConfig.fromEnv(), bitWidth: 8 });
    expect(stub.jobs[0]?.request.config).toMatchObject({ bitWidth: 8 });
  });
  test('the environment is not consulted otherwise', async () => {
    vi.stubEnv('ARROW_QUANT_BIT_WIDTH', 'nonsense');
    onTestFinished(() => void vi.unstubAllEnvs());
    await quantizeDiffusionModel({ modelPath, outputPath });
    expect(stub.jobs[0]?.request.config).toEqual({ deploymentProfile: 'local' });
  });
});

describe('wrong calls reject and never throw', () => {
  const bad: [string, () => Promise<unknown>, string][] = [
    ['no options', () => quantizeDiffusionModel(undefined as never), 'modelPath'],
    ['options of a wrong kind', () => quantizeDiffusionModel(5 as never), 'options'],
    ['no modelPath', () => quantizeDiffusionModel({ outputPath } as never), 'modelPath'],
    ['an empty path', () => quantizeDiffusionModel({ modelPath: '', outputPath }), 'modelPath'],
    ['NUL in a path', () => quantizeDiffusionModel({ modelPath: 'a\0b', outputPath }), 'modelPath'],
    ['half a surrogate pair', () => quantizeDiffusionModel({ modelPath: 'a\ud800', outputPath }), 'modelPath'],
    [
      'another kind of URL',
      () => quantizeDiffusionModel({ modelPath: new URL('http://x/y'), outputPath }),
      'modelPath',
    ],
    [
      'an object that only looks like a URL',
      () => quantizeDiffusionModel({ modelPath: Object.create(URL.prototype), outputPath }),
      'modelPath',
    ],
    ['a path that is a number', () => quantizeDiffusionModel({ modelPath, outputPath: 5 as never }), 'outputPath'],
    ['output is the model', () => quantizeDiffusionModel({ modelPath, outputPath: modelPath }), 'outputPath'],
    [
      'output inside the model',
      () => quantizeDiffusionModel({ modelPath, outputPath: `${modelPath}/x/y` }),
      'outputPath',
    ],
    ['output above the model', () => quantizeDiffusionModel({ modelPath, outputPath: '/models' }), 'outputPath'],
    ['a bad callback', () => quantizeDiffusionModel({ modelPath, outputPath, onProgress: 'x' as never }), 'onProgress'],
    ['a bad signal', () => quantizeDiffusionModel({ modelPath, outputPath, signal: {} as never }), 'signal'],
    ['a bad config', () => quantizeDiffusionModel({ modelPath, outputPath, config: 5 as never }), 'config'],
    [
      'an unknown option',
      () => quantizeDiffusionModel({ modelPath, outputPath, model_path: 1 } as never),
      'model_path',
    ],
    ['validateQuality: threshold', () => validateQuality('a', 'b', { minAccuracy: 1.1 }), 'minAccuracy'],
    ['validateQuality: path', () => validateQuality(undefined as never, 'b'), 'originalPath'],
    [
      'validateQuality: an option of another function',
      () => validateQuality('a', 'b', { bitWidth: 4 } as never),
      'bitWidth',
    ],
    ['inspect: modality', () => inspect('a', { modality: 'x' as never }), 'modality'],
    ['inspect: path', () => inspect(null as never), 'modelPath'],
    ['inspectCalibration: path', () => inspectCalibration('' as never), 'calibration'],
    ['inspectCalibration: no such form', () => inspectCalibration('c.csv'), 'calibration'],
    ['inspectCalibration: model', () => inspectCalibration('c.arrow', { modelPath: 5 as never }), 'modelPath'],
    ['the class', () => new ArrowQuantV2().quantizeDiffusionModel('a', undefined as never), 'outputPath'],
  ];
  test.each(bad)('%s', async (_, call, where) => {
    let promise: Promise<unknown> | undefined;
    expect(() => {
      promise = call();
    }).not.toThrow();
    const error = (await caught(() => promise)) as ConfigurationError;
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.issues.map((issue) => issue.path)).toContain(where);
    expect(stub.jobs).toHaveLength(0);
  });
  test('everything wrong is told at once', async () => {
    const call = () =>
      quantizeDiffusionModel({ modelPath: '', outputPath: 5 as never, bitWidth: 3 as never, signal: 1 as never });
    const error = (await caught(call)) as ConfigurationError;
    expect(error.issues.map((issue) => issue.path)).toEqual(['bitWidth', 'signal', 'modelPath', 'outputPath']);
  });
  test.each([{ mode: 'x' }, { mode: null }, { modes: 'base' }, 5])('new ArrowQuantV2(%j) throws', (options) => {
    expect(() => new ArrowQuantV2(options as never)).toThrow(ConfigurationError);
  });
  test('links are resolved before model and output are compared', async () => {
    const folder = tempDir();
    mkdirSync(path.join(folder, 'model'));
    symlinkSync(path.join(folder, 'model'), path.join(folder, 'link'));
    const call = () =>
      quantizeDiffusionModel({ modelPath: path.join(folder, 'link'), outputPath: path.join(folder, 'model/new/out') });
    expect((await caught(call)) as ConfigurationError).toMatchObject({ issues: [{ path: 'outputPath' }] });
  });
  test("the stack is the caller's", async () => {
    stub.behave = () => failure('AQ_IO', 'QuantizationError');
    async function myOwnFunction() {
      return await quantizeDiffusionModel({ modelPath, outputPath });
    }
    const native = await caught(myOwnFunction);
    expect(native.stack?.split('\n')[1]).toContain('myOwnFunction');
    expect(native.stack).toMatch(/^QuantizationError: Sentence/);
    const config = await caught(function another() {
      return quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 3 as never });
    });
    expect(config.stack?.split('\n')[1]).toContain('call.test.ts');
  });
});

describe('abort', () => {
  test('an aborted signal rejects before anything happens, with its own reason', async () => {
    const reason = new Error('enough');
    for (const call of [
      () => quantizeDiffusionModel({ modelPath, outputPath, signal: AbortSignal.abort(reason) }),
      () => validateQuality('a', 'b', { signal: AbortSignal.abort(reason) }),
      () => inspect('a', { signal: AbortSignal.abort(reason) }),
    ]) {
      const error = await caught(call);
      expect(error).toBeInstanceOf(AbortError);
      expect(error.cause).toBe(reason);
      expect(error.details).toEqual({ phase: 'config', staged: 'nothing', abandoned: false });
    }
    expect(stub.jobs).toHaveLength(0);
  });
  test('wrong options come first', async () => {
    const call = () =>
      quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 3 as never, signal: AbortSignal.abort() });
    expect((await caught(call)).code).toBe('AQ_INVALID_BIT_WIDTH');
  });
  test('while running: cancel once, the reason as cause, no listener left', async () => {
    const controller = new AbortController();
    const add = vi.spyOn(controller.signal, 'addEventListener');
    const remove = vi.spyOn(controller.signal, 'removeEventListener');
    stub.behave = (job) => {
      controller.abort('why');
      return job.cancelled ? failure('AQ_ABORTED', 'AbortError') : success();
    };
    const error = await caught(() => quantizeDiffusionModel({ modelPath, outputPath, signal: controller.signal }));
    expect(error).toBeInstanceOf(AbortError);
    expect(error.cause).toBe('why');
    expect(add).toHaveBeenCalledTimes(1);
    expect(remove).toHaveBeenCalledTimes(1);
  });
  test('too late is success, and the listener goes too', async () => {
    const controller = new AbortController();
    const remove = vi.spyOn(controller.signal, 'removeEventListener');
    stub.behave = () => {
      controller.abort();
      return success({ quantizedPath: '/o' });
    };
    expect(await quantizeDiffusionModel({ modelPath, outputPath, signal: controller.signal })).toMatchObject({
      quantizedPath: '/o',
    });
    expect(remove).toHaveBeenCalledTimes(1);
  });
  test('an abort while the listener is being added is not lost', async () => {
    const signal = {
      aborted: false,
      reason: 'between',
      addEventListener() {
        signal.aborted = true;
      },
      removeEventListener: () => undefined,
    };
    stub.behave = (job) => (job.cancelled ? failure('AQ_ABORTED', 'AbortError') : success());
    const error = await caught(() => quantizeDiffusionModel({ modelPath, outputPath, signal: signal as never }));
    expect(error).toMatchObject({ code: 'AQ_ABORTED', cause: 'between' });
  });
  test('a polyfilled signal passes', async () => {
    const signal = { aborted: false, reason: undefined, addEventListener: vi.fn(), removeEventListener: vi.fn() };
    await quantizeDiffusionModel({ modelPath, outputPath, signal: signal as never });
    expect(signal.addEventListener).toHaveBeenCalledTimes(1);
    expect(signal.removeEventListener).toHaveBeenCalledTimes(1);
  });
});

describe('an addon that misbehaves', () => {
  test.each([
    [
      'throws',
      () => {
        throw new TypeError('conversion');
      },
    ],
    ['answers null', () => success(null as never)],
    ['answers nothing', () => ''],
  ])('%s', async (_, behave) => {
    stub.behave = behave;
    expect((await caught(() => quantizeDiffusionModel({ modelPath, outputPath }))).code).toBe('AQ_INTERNAL');
  });
});
