// The code of docs/observability.md; tsc checks it here, and a spec checks that it is the same.
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { DbContextInstrumentation, hideValues } from 'nestjs-db-context/opentelemetry';

registerInstrumentations({
  instrumentations: [
    new HttpInstrumentation(),
    new PgInstrumentation({ requestHook: hideValues }),
    new DbContextInstrumentation(),
  ],
});

import { Controller, Get, Header } from '@nestjs/common';
import { SkipDbContext } from 'nestjs-db-context';
import { collectDbContextMetrics } from 'nestjs-db-context/prometheus';
import { register } from 'prom-client';

collectDbContextMetrics({ register });

@Controller('metrics')
export class MetricsController {
  @SkipDbContext() // else each look at the metrics is one of the contexts that they count
  @Get()
  @Header('content-type', register.contentType)
  read(): Promise<string> {
    return register.metrics();
  }
}
