import { Controller, Get, Header, type OnModuleDestroy } from '@nestjs/common';
import { SkipDbContext } from 'nestjs-db-context';
import { collectDbContextMetrics } from 'nestjs-db-context/prometheus';
import { Registry } from 'prom-client';

/** What Prometheus scrapes; it needs nothing of OpenTelemetry. */
@Controller('metrics')
export class MetricsController implements OnModuleDestroy {
  readonly #register = new Registry();
  readonly #stop = collectDbContextMetrics({ register: this.#register });

  // Else each look at the metrics would be one of the contexts that they count.
  @SkipDbContext()
  @Get()
  @Header('content-type', Registry.PROMETHEUS_CONTENT_TYPE)
  read(): Promise<string> {
    return this.#register.metrics();
  }

  onModuleDestroy(): void {
    this.#stop();
  }
}
