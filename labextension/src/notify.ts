/** Shows the result of a command as a notification, wherever the user gave the command. */
import { Notification } from '@jupyterlab/apputils';

/** Milliseconds for which success and failure stay. Without a time, JupyterLab would show no failure, only count it. */
const SUCCESS_TIME = 3000;
const FAILURE_TIME = 10000;

/** Waits for a command, then shows its sentence or why it failed. */
export async function notify(command: Promise<string> | undefined): Promise<void> {
  try {
    const text = await command;
    if (text) {
      Notification.info(sentence(text), { autoClose: SUCCESS_TIME });
    }
  } catch (error) {
    Notification.error(sentence((error as Error).message), { autoClose: FAILURE_TIME });
  }
}

/** With a capital and a full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.slice(0, 1).toUpperCase()}${trimmed.slice(1)}${/[.!?…]$/.test(trimmed) ? '' : '.'}`;
}
