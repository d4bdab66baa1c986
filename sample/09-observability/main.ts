import { startTracing } from './tracing.js';

// Before anything else: an instrumentation sees what is loaded after it.
startTracing();
const { serve } = await import('./serve.js');
await serve();
