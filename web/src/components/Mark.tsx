// SPDX-License-Identifier: Apache-2.0

/** The mark: a line from a ring to a small hull. Legible at 16 px. */
export function Mark({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" fill="none" aria-hidden="true" strokeLinecap="round" strokeLinejoin="round">
      <circle cx="8" cy="8" r="5" stroke="currentColor" strokeWidth="3.5" />
      <path d="M12 11.5C15 17 16 19 21 20" stroke="currentColor" strokeWidth="3" />
      <path d="M13 20.5h17.5c-.6 5.2-3.4 8.5-7 8.5h-4.600c-3 0-5-3.200-5.900-8.500z" fill="currentColor" />
    </svg>
  );
}
