/** Shows what a command has done, or why it could not be, to the user of whatever view or key. */
import { Notification } from '@jupyterlab/apputils';

/** Milliseconds for which good news stays, and bad: JupyterLab by itself would only count the latter. */
const SHORT = 3000;
const LONG = 10000;

/** Waits for a command that tells what it has done. */
export async function tell(done: Promise<string> | undefined): Promise<void> {
  try {
    const text = await done;
    if (text) {
      Notification.info(sentence(text), { autoClose: SHORT });
    }
  } catch (error) {
    Notification.error(sentence((error as Error).message), { autoClose: LONG });
  }
}

/** With a capital and a full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.slice(0, 1).toUpperCase()}${trimmed.slice(1)}${/[.!?…]$/.test(trimmed) ? '' : '.'}`;
}
