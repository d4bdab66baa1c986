import { Controller, Get } from '@nestjs/common';
import { SkipDbContext } from 'nestjs-db-context';

@Controller('health')
export class HealthController {
  // Without the decorator nothing would be sent to a database either: sessions are lazy. With it,
  // nobody can make the probe depend on a database by accident: a session throws here.
  @SkipDbContext()
  @Get()
  health(): { status: string } {
    return { status: 'ok' };
  }
}
