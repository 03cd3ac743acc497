/**
 * What opens each layout: in few words for the terminal, and for the report the lines of README's section "What opens the output" with
 * the names of this one.
 */
import type { OutputFolder } from './report/output-folder.js';
import type { ReportedResult } from './report/report-data.js';

type WrittenLayout = ReportedResult['layout'];

interface Opener {
  readonly words: { readonly images: string; readonly text: string };
  readonly lines: (about: About) => OpenLines[];
}

/** A block of lines, with what has to be known about it. */
export interface OpenLines {
  readonly title: string;
  readonly language: 'python' | 'sh';
  readonly lines: readonly string[];
  readonly note?: string;
}

// The lines are there to be copied and run, and names come from files: only harmless ones get in.
const IDENTIFIER = /^[A-Za-z_]\w{0,99}$/;
const PATH = /^(?!-)[\w.-]{1,200}(?:\/[\w.-]{1,200}){0,8}$/;
const FOLDER = 'folder = "."  # the output folder, which holds arrow-quant/';
const HALF = 'Scales of 8-bit layers are F16: load in float32 or float16, since bfloat16 rounds them.';

const OPENERS: Readonly<Record<WrittenLayout, Opener>> = {
  sdnq: {
    words: { images: 'diffusers (pip install sdnq)', text: 'transformers, after "import sdnq"' },
    lines: (about) =>
      about.text ? [transformers(about, 'sdnq')] : [diffusers(about, 'pip install torch diffusers transformers sdnq')],
  },
  'compressed-tensors': {
    words: sameWords('transformers (pip install compressed-tensors)'),
    lines: (about) => [transformers(about, 'compressed-tensors')],
  },
  gguf: {
    words: { images: 'diffusers (from_single_file), ComfyUI-GGUF, stable-diffusion.cpp', text: 'llama.cpp' },
    lines: gguf,
  },
  comfyui: {
    words: sameWords('ComfyUI, without a custom node'),
    lines: (about) => [comfyui(about)],
  },
  parquet: {
    words: { images: 'DuckDB, pyarrow; "arrow-quant export" makes a model of it', text: 'DuckDB, pyarrow' },
    lines: parquet,
  },
  plain: {
    words: sameWords('what opens the original'),
    lines: (about) =>
      about.text ? [transformers(about, null)] : [diffusers(about, 'pip install torch diffusers transformers')],
  },
};

function sameWords(words: string): Opener['words'] {
  return { images: words, text: words };
}

/** Names only; the details are in README.md. */
export function openWords(layout: WrittenLayout, isText: boolean): string {
  const { images, text } = OPENERS[layout].words;
  return isText ? text : images;
}

export function openLines(result: ReportedResult, folder: OutputFolder): OpenLines[] {
  return OPENERS[result.layout].lines(new About(result, folder));
}

/** What the lines are filled with. */
class About {
  readonly component: string;
  readonly className: string | null;
  readonly text: boolean;
  readonly original: boolean;
  readonly half: boolean;
  readonly absent: readonly string[];
  readonly #files: readonly string[];

  constructor(result: ReportedResult, folder: OutputFolder) {
    const component = result.components.find(({ quantized }) => quantized);
    const { name = '', className = null } = component ?? {};
    this.component = name === '' || PATH.test(name) ? name : 'COMPONENT';
    this.className = className !== null && IDENTIFIER.test(className) ? className : null;
    this.text = /For[A-Z]\w*$/.test(className ?? '') || (name === '' && result.modality === 'text');
    this.original = result.resolvedConfig.ggufNames === 'original';
    this.half = result.layers.some(({ scheme }) => scheme.bits === 8 && scheme.scaleDtype === 'f16');
    this.absent = folder.absent.filter((part) => IDENTIFIER.test(part));
    this.#files = folder.files.map((file) => file.name).filter((file) => PATH.test(file));
  }

  /** The weight file that ends so, or what it is called usually. */
  file(ending: string, usual: string): string {
    const start = this.component === '' ? '' : `${this.component}/`;
    return this.#files.find((file) => file.startsWith(start) && file.endsWith(ending)) ?? `${start}${usual}`;
  }

  /** A Python string of a path in the folder. */
  at(path: string): string {
    return path === '' ? 'folder' : `f"{folder}/${path}"`;
  }

  get options(): string {
    return ['', ...this.absent.map((part) => `${part}=None`), 'torch_dtype=torch.float32'].join(', ');
  }
}

function diffusers(about: About, needs: string): OpenLines {
  const { component, className } = about;
  const model = className ?? 'AutoModel';
  const pipeline = component !== '';
  const lines = [
    'import torch',
    `from diffusers import ${pipeline ? `DiffusionPipeline, ${model}` : model}`,
    '',
    FOLDER,
  ];
  if (pipeline) lines.push('', '# one component');
  const variable = IDENTIFIER.test(component) ? component : 'model';
  lines.push(`${variable} = ${model}.from_pretrained(${about.at(component)}, torch_dtype=torch.float32)`);
  if (pipeline) {
    lines.push('', '# the whole pipeline', `pipe = DiffusionPipeline.from_pretrained(folder${about.options})`);
  }
  return { title: `diffusers (${needs})`, language: 'python', lines, ...(about.half ? { note: HALF } : {}) };
}

function transformers(about: About, extra: string | null): OpenLines {
  const auto = /ForCausalLM$/.test(about.className ?? 'ForCausalLM') ? 'AutoModelForCausalLM' : 'AutoModel';
  const title = `transformers (pip install torch transformers${extra === null ? '' : ` ${extra}`})`;
  const lines = [
    ...(extra === 'sdnq' ? ['import sdnq  # without it: mismatched shapes'] : []),
    'import torch',
    `from transformers import ${auto}`,
    '',
    FOLDER,
    `model = ${auto}.from_pretrained(${about.at(about.component)}, dtype=torch.float32)`,
  ];
  return { title, language: 'python', lines, ...(about.half && extra === 'compressed-tensors' ? { note: HALF } : {}) };
}

function gguf(about: About): OpenLines[] {
  const { component, className, text } = about;
  const file = about.file('.gguf', 'diffusion_pytorch_model.gguf');
  if (text || className === null) {
    const lines = [
      `llama-diffusion-cli -m ${file} -p "Write a haiku." -ub 512 --diffusion-block-length 32 --diffusion-steps 256`,
    ];
    const note =
      'For LLaDA; Dream takes --diffusion-eps 0.001 instead of the block length. Only files that llama.cpp made have its names.';
    return [{ title: 'llama.cpp, in the output folder', language: 'sh', lines, note }];
  }
  const variable = IDENTIFIER.test(component) ? component : 'model';
  const lines = [
    'import torch',
    `from diffusers import ${component === '' ? '' : 'DiffusionPipeline, '}${className}, GGUFQuantizationConfig`,
    '',
    FOLDER,
    `${variable} = ${className}.from_single_file(`,
    `    ${about.at(file)},`,
    `    config=${about.at(component)},`,
    '    quantization_config=GGUFQuantizationConfig(compute_dtype=torch.bfloat16),',
    '    torch_dtype=torch.bfloat16,',
    ')',
  ];
  if (component !== '') {
    const absent = about.absent.map((part) => `${part}=None, `).join('');
    lines.push(
      `pipe = DiffusionPipeline.from_pretrained(folder, ${variable}=${variable}, ${absent}torch_dtype=torch.bfloat16)`,
    );
  }
  const note = 'For classes of diffusers that have from_single_file.';
  const opened: OpenLines = { title: 'diffusers (pip install torch diffusers gguf)', language: 'python', lines, note };
  const comfy: OpenLines = {
    title: 'ComfyUI with the custom node ComfyUI-GGUF, in the output folder',
    language: 'sh',
    lines: [`cp ${file} ComfyUI/models/unet/`],
    note: 'Then the node "Unet Loader (GGUF)".',
  };
  return about.original ? [opened, comfy] : [opened];
}

function comfyui(about: About): OpenLines {
  const file = about.file('.safetensors', 'diffusion_pytorch_model.safetensors');
  const lines = [`cp ${file} ComfyUI/models/diffusion_models/`];
  const note = 'Then "Load Diffusion Model". ComfyUI has to be new enough to know awq_w4a16 and int8_tensorwise.';
  return { title: 'ComfyUI, in the output folder', language: 'sh', lines, note };
}

function parquet(about: About): OpenLines[] {
  const own = about.component === '' ? 'model' : about.component;
  const file = about.file('.parquet', `${own}.arrow-quant.parquet`);
  const asked: OpenLines = {
    title: 'pyarrow (pip install pyarrow)',
    language: 'python',
    lines: [
      'import pyarrow.parquet as pq',
      '',
      FOLDER,
      `table = pq.read_table(${about.at(file)}, columns=["layer_name", "quant_type", "cosine"])`,
      'print(table.sort_by("cosine").slice(0, 5))',
    ],
    note: 'Name the columns: codes are read only where they are asked for.',
  };
  const exported: OpenLines = {
    title: 'For loaders of models, in the output folder',
    language: 'sh',
    lines: ['arrow-quant export . -o ../exported --layout sdnq'],
  };
  return [asked, exported];
}
