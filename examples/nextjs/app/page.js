import { hostname } from 'node:os';
import Counter from './counter';

export const dynamic = 'force-dynamic';

export default function Page() {
  return (
    <main>
      <h1>Next.js on Pier</h1>
      <p>
        Rendered by Node {process.version} in container <code>{hostname()}</code>.
      </p>
      <Counter />
    </main>
  );
}
