/** What must hold for every input, tried with random and hostile ones. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { palette } from '../src-ts/cli/colour.js';
import { renderError } from '../src-ts/cli/render-error.js';
import * as aq from '../src-ts/index.js';
import { ACTS, actingName, hostileObject, hostileValue, LONG, NUM_RUNS } from './helpers/hostile.js';
import { expectRefusal } from './helpers/refusal.js';
import { sampleError } from './helpers/sample-error.js';
import { tempDir } from './helpers/temp.js';

const OPTIONS = [...Object.keys(new aq.DiffusionQuantConfig()), 'bit_width', '__proto__'];
/** The key under which a configuration of any copy of the package carries its entries. */
const CARRIED = Symbol.for('arrow-quant.config-entries');

const CLASSES = {
  ArrowQuantError: aq.ArrowQuantError,
  QuantizationError: aq.QuantizationError,
  ConfigurationError: aq.ConfigurationError,
  ValidationError: aq.ValidationError,
  ModelNotFoundError: aq.ModelNotFoundError,
  MetadataError: aq.MetadataError,
  ShapeMismatchError: aq.ShapeMismatchError,
  AbortError: aq.AbortError,
} as const;

/** Runs a call that may succeed or refuse. */
function tryCall(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    expectRefusal(error);
  }
}

describe('options', () => {
  test('objects of random members construct, or are refused with a short message', LONG, () => {
    fc.assert(
      fc.property(hostileObject([...OPTIONS, CARRIED]), ({ make }) =>
        tryCall(() => new aq.DiffusionQuantConfig(make() as never)),
      ),
      { numRuns: NUM_RUNS },
    );
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
  test('values of any kind in place of the options', LONG, () => {
    fc.assert(
      fc.property(hostileValue, ({ make }) => tryCall(() => new aq.DiffusionQuantConfig(make() as never))),
      { numRuns: NUM_RUNS },
    );
  });
  test.each(OPTIONS)('%s alone', LONG, (name) => {
    fc.assert(
      fc.property(hostileValue, ({ make }) => tryCall(() => new aq.DiffusionQuantConfig({ [name]: make() } as never))),
      { numRuns: NUM_RUNS },
    );
  });
  test('functions that return promises reject and never throw', LONG, async () => {
    const object = hostileObject(['modelPath', 'config', 'signal', 'data', 'shape']);
    await fc.assert(
      fc.asyncProperty(hostileValue, object, async (value, member) => {
        const calls = [
          () => aq.quantizeDiffusionModel(member.make() as never),
          () => aq.quantizeMany(value.make() as never),
          () => aq.quantizeMany([member.make()] as never),
          () => aq.validateQuality(value.make() as never, '/nowhere/b', member.make() as never),
          () => aq.inspect(value.make() as never, member.make() as never),
          () => aq.quantize({ w: member.make() } as never),
          () => aq.quantize({ w: { data: new Float32Array(4), shape: value.make() } } as never),
        ];
        for (const call of calls) {
          const error: unknown = await call().then(
            () => undefined,
            (reason: unknown) => reason,
          );
          if (error !== undefined) expect(error).toBeInstanceOf(aq.ArrowQuantError);
        }
      }),
      { numRuns: NUM_RUNS },
    );
  });
});

describe('a configuration comes back', () => {
  const oneOf = <T>(...values: T[]) => fc.constantFrom(...values);
  const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((text) => !/[\0\p{Cs}]/u.test(text));
  const flag = fc.boolean();
  /** Values that every option accepts, for all options. */
  const options = fc.record<aq.DiffusionQuantOptions>(
    {
      bitWidth: oneOf(2, 4, 8),
      groupSize: oneOf(32, 64, 128, 256),
      numTimeGroups: fc.integer({ min: 1, max: 100 }),
      minAccuracy: fc.double({ min: 0, max: 1, noNaN: true }),
      modality: oneOf('text', 'code', 'image', 'audio', 'video'),
      deploymentProfile: oneOf('edge', 'local', 'cloud'),
      calibration: oneOf(path.resolve('/c/rows.safetensors'), path.resolve('/c/rows: 1.parquet')),
      calibrationSamples: fc.integer({ min: 1, max: 1_000_000 }),
      enableTimeAware: flag,
      enableSpatial: flag,
      symmetric: flag,
      failFast: flag,
      overwrite: fc.constant(false),
      method: oneOf('auto', 'rtn', 'mse', 'gptq'),
      layout: oneOf('auto', 'sdnq', 'gguf', 'plain'),
      ggufNames: oneOf('auto', 'diffusers', 'original'),
      ggufType: oneOf('Q8_0', 'Q4_K_M'),
      plainDtype: oneOf('source', 'f32', 'f16', 'bf16'),
      protectBlocks: oneOf('auto', 'none'),
      partition: oneOf('1/1', '2/7', '65536/65536'),
      components: fc.array(name, { maxLength: 3 }),
      layerBitWidths: fc.dictionary(
        name.filter((key) => !['__proto__', 'constructor', 'prototype'].includes(key)),
        oneOf(2, 4, 8, 16),
      ),
      skipLayers: fc.array(name, { maxLength: 5 }),
      enableMixedPrecision: flag,
      targetModelSizeMb: fc.double({ min: 1e-300, max: 1e300, noNaN: true }),
      nonFinite: oneOf('error', 'keep'),
      resume: flag,
      maxMemoryLimitMb: fc.integer({ min: 16, max: 16_777_216 }),
      device: oneOf('auto', 'cpu', 'cuda', 'cuda:7'),
      deviceFallback: flag,
      ioRetries: fc.integer({ min: 0, max: 10 }),
      timeoutMs: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
      stallTimeoutMs: oneOf(0, 1000, 2 ** 31 - 1),
      logLevel: oneOf('off', 'trace'),
      numThreads: fc.integer({ min: 0, max: 1024 }),
    },
    { requiredKeys: [] },
  );

  test('every option is among them', () => {
    fc.assert(
      fc.property(options, (given) => {
        for (const key of Object.keys(given)) expect(OPTIONS).toContain(key);
      }),
    );
    const all = new Set(fc.sample(options, { seed: 1, numRuns: 200 }).flatMap((given) => Object.keys(given)));
    expect([...all].sort()).toEqual(Object.keys(new aq.DiffusionQuantConfig()).sort());
  });
  test('from the options, and from its own JSON', LONG, () => {
    fc.assert(
      fc.property(options, (given) => {
        const config = new aq.DiffusionQuantConfig(given);
        expect(config.given).toEqual(given);
        const json = JSON.stringify(config);
        expect(JSON.stringify(new aq.DiffusionQuantConfig(JSON.parse(json)))).toBe(json);
      }),
      { numRuns: NUM_RUNS },
    );
  });
  test('from a file, in YAML and in JSON', LONG, () => {
    const file = path.join(tempDir(), 'quant.yaml');
    fc.assert(
      fc.property(options, (given) => {
        for (const text of [stringify(given), JSON.stringify(given)]) {
          writeFileSync(file, text);
          const config = aq.DiffusionQuantConfig.fromYaml(file);
          expect(config.given).toEqual(given);
          expect(JSON.stringify(config)).toBe(JSON.stringify(new aq.DiffusionQuantConfig(given)));
        }
      }),
      { numRuns: NUM_RUNS },
    );
  });
});

describe('JSON: errorFromJSON() gives back what toJSON() gave', () => {
  const text = fc.oneof(actingName, fc.string({ unit: 'binary' }));
  const cause = fc.record({ name: text, message: text, code: fc.option(text) });
  const details = fc.dictionary(fc.oneof(text, fc.constantFrom('path', 'op', 'issues', '__proto__')), fc.jsonValue());

  /** Errors inside each other, innermost any value at all. */
  const chain = fc.record({ causes: fc.array(cause, { maxLength: 10 }), innermost: hostileValue });
  const chained = ({ causes, innermost }: typeof chain extends fc.Arbitrary<infer T> ? T : never): unknown =>
    causes.reduce<unknown>(
      (inner, { name, message, code }) =>
        Object.assign(new Error(message, { cause: inner }), { name, ...(code === null ? {} : { code }) }),
      innermost.make(),
    );

  test.each([...aq.ERROR_CODES])('%s', LONG, (code) => {
    const plain = sampleError(code).toJSON();
    const Class = CLASSES[plain.name as keyof typeof CLASSES] as typeof aq.ArrowQuantError;
    fc.assert(
      fc.property(
        fc.record({ message: text, hint: text, title: text, suggestions: fc.array(text), details }),
        fc.record({ modelPath: fc.option(text), layer: fc.option(text), elapsedMs: fc.nat() }),
        fc.option(fc.nat()),
        chain,
        (texts, context, retryAfterMs, causes) => {
          const init = { ...plain, ...texts, context: { ...plain.context, ...context }, retryAfterMs };
          const error = new Class(init as never, { cause: chained(causes) });
          const json = JSON.stringify(error);
          const revived = aq.errorFromJSON(JSON.parse(json));
          expect(JSON.stringify(revived.toJSON())).toBe(json);
          expect(revived.constructor).toBe(Class);
        },
      ),
      { numRuns: NUM_RUNS },
    );
  });
});

describe('names that act stay names', () => {
  /** Without the sequences that the terminal rendering itself puts in. */
  const uncoloured = (line: string) =>
    ['1;31', '33', '2', '0'].reduce((l, n) => l.replaceAll(`\u001b[${n}m`, ''), line);

  /** Everything a reader sees of an error. */
  function expectHarmless(error: aq.ArrowQuantError): void {
    const html = aq.renderErrorHtml(error);
    expect(html).not.toMatch(ACTS);
    expect(html).not.toMatch(/<(?:img|script)|<\/section>./i);
    expect(html.match(/<section/g)).toHaveLength(1);
    for (const coloured of [false, true]) {
      for (const verbose of [false, true]) {
        const lines = renderError(error, { palette: palette(coloured), width: 80, verbose }).split('\n');
        for (const line of lines) expect(coloured ? uncoloured(line) : line).not.toMatch(ACTS);
      }
    }
  }

  test('in an error from elsewhere', LONG, () => {
    fc.assert(
      fc.property(fc.constantFrom(...aq.ERROR_CODES), actingName, fc.boolean(), (code, name, several) => {
        const plain = sampleError(code).toJSON();
        const issue = { path: name, expected: name, received: name, message: name, code, source: 'option' };
        const json = {
          ...plain,
          title: name,
          message: `${name} failed. Hint: ${name}`,
          hint: name,
          suggestions: several ? [name, name] : [name],
          details: { path: name, layer: name, tensor: name, name, bitWidth: name, list: [name], issues: [issue] },
          context: { ...plain.context, phase: name, elapsedMs: 1 },
          causes: [{ name, message: name, code: name }],
        };
        expectHarmless(aq.errorFromJSON(json));
      }),
      { numRuns: NUM_RUNS },
    );
  });
  test('in a code that no version has', LONG, () => {
    fc.assert(
      fc.property(actingName, (name) => expectHarmless(aq.errorFromJSON({ code: `AQ_${name}`, message: name }))),
      { numRuns: NUM_RUNS },
    );
  });
  test('in options, tensors and paths that are really given', LONG, async () => {
    await fc.assert(
      fc.asyncProperty(actingName, async (name) => {
        const NaNs = new Float32Array(64).fill(Number.NaN);
        const clean = name.replaceAll('\0', '');
        for (const call of [
          async () =>
            new aq.DiffusionQuantConfig({ [name]: 1, modality: name, layerBitWidths: { [name]: 3 } } as never),
          () => aq.quantize({ [`w${name}`]: { data: NaNs, shape: [1, 64] } }),
          () => aq.quantize({ [`w${name}`]: { data: NaNs, shape: [1, 63] } }),
          () => aq.inspect(`/nowhere/${clean}`),
        ]) {
          const error: unknown = await call().then(
            () => undefined,
            (reason: unknown) => reason,
          );
          expect(error).toBeInstanceOf(aq.ArrowQuantError);
          expect((error as Error).message).not.toMatch(ACTS);
          expectHarmless(error as aq.ArrowQuantError);
        }
      }),
      { numRuns: NUM_RUNS },
    );
  });
});
