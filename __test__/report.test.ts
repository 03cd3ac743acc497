/** The report page as text: what is in it, that nothing from a model becomes markup, and that equal jobs give equal pages. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseHTML } from 'linkedom';
import { beforeAll, describe, expect, test } from 'vitest';
import { type QuantizationResult, quantizeDiffusionModel } from '../src-ts/index.js';
import { placeOf } from '../src-ts/report/blocks.js';
import { worstLayers } from '../src-ts/report/histograms.js';
import { UNKNOWN_FOLDER } from '../src-ts/report/output-folder.js';
import { type ReportedResult, reportData } from '../src-ts/report/report-data.js';
import { renderReport, writeReport } from '../src-ts/report/write-report.js';
import { openLines } from '../src-ts/what-opens.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { madeHistograms, madeResult } from './helpers/report-result.js';
import { tempDir } from './helpers/temp.js';

const HOSTILE = '</script><img src=x onerror=alert(1)>';

const documentOf = (page: string) => parseHTML(page).document as unknown as MadeDocument;

/** The little of a document that is asked for here. */
interface MadeDocument {
  querySelector(selectors: string): { readonly textContent: string; getAttribute(name: string): string } | null;
  querySelectorAll(selectors: string): ArrayLike<{ readonly textContent: string; getAttribute(name: string): string }>;
}

/** Loads what draws the charts, so that no test counts it. */
beforeAll(async () => {
  await renderReport(madeResult(3));
});

test('the page holds its own data as JSON, equal to what it was made of', async () => {
  const result = madeResult(60, 5);
  const histograms = madeHistograms(worstLayers(result));
  const page = await renderReport(result, histograms);
  const script = documentOf(page).querySelector('#report-data');
  expect(script?.getAttribute('type')).toBe('application/json');
  const data = JSON.parse(script?.textContent ?? '');
  expect(data).toEqual(JSON.parse(JSON.stringify(reportData(result, histograms))));
  expect(data.layers).toHaveLength(60);
  expect(data.histograms).toEqual(histograms);
});

test('every part is there; without histograms, time groups or layers those parts are left out', async () => {
  const ids = (page: string) =>
    Array.from(documentOf(page).querySelectorAll('section[id]'), (one) => one.getAttribute('id'));
  const full = await renderReport(madeResult(60, 5), madeHistograms(worstLayers(madeResult(60, 5))));
  expect(ids(full)).toEqual(['parts', 'map', 'bits', 'time', 'spread', 'worst', 'notes', 'open', 'config', 'layers']);
  expect(full.includes('after less before')).toBe(true);
  const plain = await renderReport(madeResult(60));
  expect(ids(plain)).not.toContain('time');
  expect(plain.includes('after less before')).toBe(false);
  expect(ids(await renderReport(madeResult(0)))).toEqual(['parts', 'notes', 'open', 'config', 'layers']);
  for (const page of [full, plain]) {
    const links = Array.from(documentOf(page).querySelectorAll('nav a'), (one) => one.getAttribute('href').slice(1));
    expect(links).toEqual(ids(page));
  }
});

test('figures of the first screen', async () => {
  const result = { ...madeResult(60), originalSizeMb: 9.22452, modelSizeMb: 2.47668, compressionRatio: 3.7245 };
  const text = documentOf(await renderReport(result)).querySelector('.figures')?.textContent ?? '';
  expect(text).toContain('9.22 → 2.48 MB');
  expect(text).toContain('3.72 times smaller');
  expect(text).toContain('reached');
  const strict = { ...result, resolvedConfig: { ...result.resolvedConfig, minAccuracy: 0.9999 } };
  expect(documentOf(await renderReport(strict)).querySelector('.figures')?.textContent).toContain('missed');
});

describe('equal jobs, equal pages', () => {
  test('twice the same', async () => {
    const result = madeResult(60, 5);
    const [one, other] = [await renderReport(result), await renderReport(result)];
    expect(one === other).toBe(true);
  });

  test('times, threads, devices, paths and what happened on the way change nothing', async () => {
    const result = madeResult(60, 5);
    const about = { code: 'AQ_WARN_RETRIED', message: 'Retried.', details: {} };
    const other: ReportedResult = {
      ...result,
      quantizedPath: '/elsewhere',
      manifestPath: '/elsewhere/m.json',
      reportPath: '/elsewhere/r.html',
      quantizationTimeS: 99,
      backend: { device: 'cuda:0', reason: 'asked for', simd: 'neon', threads: 64 },
      retries: [],
      degradations: [{ what: 'memory', from: '1', to: '2', reason: 'x' }] as never,
      warnings: [about, ...result.warnings],
      resolvedConfig: {
        ...result.resolvedConfig,
        numThreads: 64,
        calibration: '/elsewhere/c',
        overwrite: true,
        device: 'cuda',
      },
    };
    expect((await renderReport(other)) === (await renderReport(result))).toBe(true);
    expect((await renderReport(result)).includes('/absent')).toBe(false);
  });

  test('a real job, into two folders', async () => {
    const folder = tempDir();
    const modelPath = writeModel(folder, ditTensors(3, 128));
    const pages = [];
    for (const [name, numThreads] of [
      ['a', 1],
      ['b', 2],
    ] as const) {
      const result = await quantizeDiffusionModel({
        modelPath,
        outputPath: path.join(folder, name),
        numThreads,
        bitWidth: 4,
      });
      const written = await writeReport(result as QuantizationResult);
      expect(written).toBe(path.join(folder, name, 'arrow-quant', 'report.html'));
      expect(readdirSync(path.dirname(written)).filter((file) => file.startsWith('report'))).toEqual(['report.html']);
      pages.push(readFileSync(written, 'utf8'));
    }
    expect(pages[0] === pages[1]).toBe(true);
    expect(pages[0]?.includes(folder)).toBe(false);
    expect(pages[0]?.includes('DiTTransformer2DModel at 4 bits')).toBe(true);
  });
});

describe('hostile texts stay text', () => {
  test('in names, classes, roles, warnings, options', async () => {
    const made = madeResult(12, 3);
    const layers = made.layers.map((layer, at) => ({
      ...layer,
      name: `transformer_blocks.${at}.${HOSTILE}`,
      role: at % 2 === 0 ? HOSTILE : `" onmouseover="alert(1)`,
      scheme: { ...layer.scheme, blockType: HOSTILE },
    }));
    const result: ReportedResult = {
      ...made,
      layers,
      modalitySource: HOSTILE,
      components: made.components.map((one) => ({ ...one, className: HOSTILE, name: HOSTILE })),
      skipped: [{ name: HOSTILE, why: HOSTILE, bytes: 1 }],
      warnings: [{ code: HOSTILE, message: HOSTILE, details: HOSTILE }],
      target: {
        targetMb: 1,
        bitWidth: 4,
        baseMb: 1,
        plannedMb: 1,
        steps: [{ block: HOSTILE, layers: 1, from: 2, to: 4, costMb: 1, why: HOSTILE, error: null }],
      },
      resolvedConfig: { ...made.resolvedConfig, skipLayers: [HOSTILE], layerBitWidths: { [HOSTILE]: 4 } },
    };
    const page = await renderReport(result, madeHistograms(worstLayers(result)));
    const document = documentOf(page);
    // A page is long: no assertion may print it.
    expect(page.includes('<img')).toBe(false);
    expect(document.querySelectorAll('img')).toHaveLength(0);
    expect(document.querySelectorAll('script')).toHaveLength(2);
    expect(document.querySelectorAll('[onmouseover], [onerror]')).toHaveLength(0);
    expect(page.match(/<\/script>/g)).toHaveLength(2);
    const data = JSON.parse(document.querySelector('#report-data')?.textContent ?? '');
    expect(data.layers[0].role).toBe(HOSTILE);
  });

  test('lines to be copied hold harmless names only', () => {
    const made = madeResult(3);
    const evil = ['"); import os; os.system("x', 'a b; rm -rf ~', '$(x)', '../../etc', '-x'];
    for (const name of evil) {
      for (const layout of ['sdnq', 'gguf', 'comfyui', 'parquet', 'plain', 'compressed-tensors'] as const) {
        const components = [{ ...(made.components[0] as (typeof made.components)[number]), name, className: name }];
        const folder = { files: [{ name: `${name}/x.gguf`, bytes: 1 }], absent: [name] };
        const lines = openLines({ ...made, layout, components }, folder).flatMap((one) => one.lines);
        if (name !== '../../etc') expect(lines.join('\n'), `${layout} ${name}`).not.toContain(name);
        expect(lines.join('\n')).not.toMatch(/os\.system|rm -rf|\$\(/);
      }
    }
  });
});

test('nothing is fetched, and the policy names exactly the style and the script that are there', async () => {
  const page = await renderReport(madeResult(60, 5), madeHistograms(worstLayers(madeResult(60, 5))));
  const outside = page.replaceAll('http://www.w3.org/2000/svg', '').replaceAll('http://www.w3.org/1999/xlink', '');
  expect(/https?:|url\(|@import|<iframe|<img|<object|<script src|srcset|\sstyle="/i.exec(outside)?.[0]).toBeUndefined();
  const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)?.[1];
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain('unsafe');
  const hash = (text: string | undefined) =>
    createHash('sha256')
      .update(text ?? '')
      .digest('base64');
  expect(policy).toContain(`style-src 'sha256-${hash(/<style>([\s\S]*?)<\/style>/.exec(page)?.[1])}'`);
  expect(policy).toContain(`script-src 'sha256-${hash(/<script>([\s\S]*?)<\/script>/.exec(page)?.[1])}'`);
  expect(page.match(/<style/g)).toHaveLength(1);
});

test('a thousand layers: under 3 MB and 5 seconds', async () => {
  const result = madeResult(1000, 20);
  const begun = performance.now();
  const page = await renderReport(result, madeHistograms(worstLayers(result)));
  expect(performance.now() - begun).toBeLessThan(5_000);
  expect(Buffer.byteLength(page)).toBeLessThan(3e6);
  expect(documentOf(page).querySelectorAll('#layer-table tbody tr')).toHaveLength(1000);
});

describe('how to open it', () => {
  const text = (result: Partial<ReportedResult>, folder = UNKNOWN_FOLDER) =>
    openLines({ ...madeResult(3), ...result }, folder)
      .map(({ title, lines, note }) => [title, ...lines, note ?? ''].join('\n'))
      .join('\n');
  const bare = [{ name: '', className: 'LlamaForCausalLM', quantized: true, layers: 3, parameters: 1 }];

  test('sdnq: the component, and the pipeline without parts that it lacks', () => {
    const lines = text({}, { files: [], absent: ['vae'] });
    expect(lines).toContain('from diffusers import DiffusionPipeline, FluxTransformer2DModel');
    expect(lines).toContain(
      'FluxTransformer2DModel.from_pretrained(f"{folder}/transformer", torch_dtype=torch.float32)',
    );
    expect(lines).toContain('DiffusionPipeline.from_pretrained(folder, vae=None, torch_dtype=torch.float32)');
    expect(lines).toContain('sdnq');
  });
  test('sdnq of a text model: by transformers, after import sdnq', () => {
    expect(text({ components: bare })).toMatch(
      /import sdnq[\s\S]*AutoModelForCausalLM\.from_pretrained\(folder, dtype=torch\.float32\)/,
    );
  });
  test('compressed-tensors', () => {
    const lines = text({ layout: 'compressed-tensors', components: bare });
    expect(lines).toContain('AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)');
    expect(lines).toContain('pip install torch transformers compressed-tensors');
    expect(lines).not.toContain('import sdnq');
  });
  test('gguf: the file that was written, and ComfyUI where it has original names', () => {
    const folder = { files: [{ name: 'transformer/my-model.gguf', bytes: 1 }], absent: [] };
    const lines = text({ layout: 'gguf' }, folder);
    expect(lines).toContain('FluxTransformer2DModel.from_single_file(\n    f"{folder}/transformer/my-model.gguf",');
    expect(lines).toContain('GGUFQuantizationConfig(compute_dtype=torch.bfloat16)');
    expect(lines).not.toContain('ComfyUI');
    const { resolvedConfig } = madeResult(3);
    const original = text({ layout: 'gguf', resolvedConfig: { ...resolvedConfig, ggufNames: 'original' } }, folder);
    expect(original).toContain('cp transformer/my-model.gguf ComfyUI/models/unet/');
    expect(text({ layout: 'gguf', modality: 'text', components: bare })).toContain(
      'llama-diffusion-cli -m diffusion_pytorch_model.gguf',
    );
  });
  test('comfyui, parquet, plain', () => {
    expect(text({ layout: 'comfyui' })).toContain('ComfyUI/models/diffusion_models/');
    expect(text({ layout: 'parquet' })).toContain(
      'pq.read_table(f"{folder}/transformer/transformer.arrow-quant.parquet"',
    );
    expect(text({ layout: 'plain' })).not.toContain('sdnq');
    expect(text({ layout: 'plain', components: bare })).toContain('AutoModelForCausalLM');
  });
});

test.each([
  ['transformer_blocks.3.attn.to_q', 'transformer_blocks', 3, 'attn.to_q'],
  ['transformer_blocks.0.ff.net.0.proj', 'transformer_blocks', 0, 'ff.net.0.proj'],
  ['down_blocks.0.attentions.1.to_k', 'down_blocks', 0, 'attentions.1.to_k'],
  [
    'down_blocks.1.attentions.0.transformer_blocks.2.attn1.to_q',
    'down_blocks.1.attentions.0.transformer_blocks',
    2,
    'attn1.to_q',
  ],
  ['mid_block.resnets.0.conv1', 'mid_block', null, 'resnets.0.conv1'],
  ['model.layers.11.self_attn.q_proj', 'model.layers', 11, 'self_attn.q_proj'],
  ['blk.7.attn_q', 'blk', 7, 'attn_q'],
  ['double_blocks.4.img_attn.qkv', 'double_blocks', 4, 'img_attn.qkv'],
  ['time_embedding.linear_1', '', null, 'time_embedding.linear_1'],
])('%s stands in block %s %s', (name, family, number, part) => {
  expect(placeOf(name)).toMatchObject({ family, number, part });
});

test('a folder without a manifest, and one whose manifest is no such thing', async () => {
  const folder = tempDir();
  mkdirSync(path.join(folder, 'out'));
  const result = {
    ...madeResult(3),
    quantizedPath: path.join(folder, 'out'),
    manifestPath: path.join(folder, 'm.json'),
  };
  const without = readFileSync(await writeReport(result), 'utf8');
  writeFileSync(result.manifestPath, '{"files": [1, {"name": 2}], "x":');
  expect(readFileSync(await writeReport(result), 'utf8')).toBe(without);
  writeFileSync(result.manifestPath, '{"files": [1, {"name": 2}]}');
  expect(readFileSync(await writeReport(result), 'utf8')).toBe(without);
});

test('the worst layers: six, worst first, equal ones in the order of the file', () => {
  const result = madeResult(20);
  const layers = result.layers.map((layer, at) => ({
    ...layer,
    name: `l${at}`,
    similarity: at < 3 ? 0.9 : 1 - at / 100,
  }));
  expect(worstLayers({ layers })).toEqual(['l19', 'l18', 'l17', 'l16', 'l15', 'l14']);
  expect(worstLayers({ layers: layers.slice(0, 5) })).toEqual(['l0', 'l1', 'l2', 'l4', 'l3']);
});
