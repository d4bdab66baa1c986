// Before anything else: an instrumentation sees what is loaded after it.
import './tracing.js';

const { serve } = await import('./serve.js');
await serve();
