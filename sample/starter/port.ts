import { once } from 'node:events';
import { createServer } from 'node:net';

export const HOST = '127.0.0.1';

/**
 * The port that `PORT` names, or 3000. Looks whether it is free before anything is started, so that
 * the answer comes at once.
 *
 * @param command that starts the sample, for the messages
 * @throws Error when the port is busy, or none
 */
export async function choosePort(command: string): Promise<number> {
  const text = process.env['PORT'] ?? '3000';
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`PORT=${text} is no TCP port. Choose one: PORT=3001 ${command}`);
  }
  const probe = createServer().listen(port, HOST);
  try {
    await once(probe, 'listening');
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === 'EADDRINUSE') {
      throw new Error(
        `Port ${port} is busy. Choose another: PORT=${port === 3000 ? 3001 : 3000} ${command}`,
        { cause: error },
      );
    }
    throw error;
  }
  probe.close();
  await once(probe, 'close');
  return port;
}
