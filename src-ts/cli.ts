#!/usr/bin/env node
import { main } from './cli/main.js';

// An exit code instead of process.exit(): what was written to a pipe is still on its way.
process.exitCode = await main(process.argv.slice(2));
