'use client';

import { useEffect, useState } from 'react';

export default function Counter() {
  const [seconds, setSeconds] = useState(0);
  const [live, setLive] = useState(false);
  useEffect(() => {
    setLive(true);
    const timer = setInterval(() => setSeconds((s) => s + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return <p id="live">{live ? `The script runs in the browser: ${seconds} s` : 'Waiting for the script'}</p>;
}
