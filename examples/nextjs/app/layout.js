export const metadata = { title: 'Pier and Next.js' };

export default function RootLayout({ children }) {
  return (
    <html lang="en">
      <body style={{ fontFamily: 'system-ui, sans-serif', maxWidth: '40rem', margin: '10vh auto', padding: '0 1rem' }}>{children}</body>
    </html>
  );
}
