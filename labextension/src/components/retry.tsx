/** The button that retries failed tasks. Each count of failed tasks has one. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { count } from './format';

export interface IRetryFailedProps {
  failed: number;
  /** The app whose tasks the button retries; undefined for all apps. */
  app?: string;
  live: boolean;
  trans: TranslationBundle;
  onRetry: () => void;
}

export function RetryFailed({ failed, app, live, trans, onRetry }: IRetryFailedProps): React.JSX.Element {
  const label = app ? trans.__('Retry failed of %1', app) : trans.__('Retry failed');
  const title = trans._n(
    'Run the failed task again as its app is defined now',
    'Run %1 failed tasks again as their apps are defined now',
    failed,
    count(failed)
  );
  return (
    <button type="button" className="parslab-Button" disabled={!live} title={title} onClick={onRetry}>
      {label}
    </button>
  );
}
