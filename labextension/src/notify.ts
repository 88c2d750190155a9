/** Shows the result of a command as a notification, wherever the user gave the command. */
import { Notification } from '@jupyterlab/apputils';

/** Milliseconds for which notifications stay. Without a time, JupyterLab only counts an error and does not show it. */
const SUCCESS_TIME = 3000;
const FAILURE_TIME = 10000;

/** Waits for a command, then shows its sentence or its error. */
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

/** The text with a capital letter and a full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.slice(0, 1).toUpperCase()}${trimmed.slice(1)}${/[.!?…]$/.test(trimmed) ? '' : '.'}`;
}
