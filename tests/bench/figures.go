package main

import (
	"fmt"
	"slices"
)

// median returns the middle value, or the mean of the two in the middle. Of
// none it is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// seconds shows the median of times and how far they lie apart: `4.1 s (3.9–5.2)`.
func seconds(values []float64) string { return spread(values, 2, "s") }

// inMiB shows the median of sizes in bytes, and how far they lie apart.
func inMiB(values []float64) string { return spread(scale(values, 1<<20), 1, "MiB") }

// inKiB does so for small ones.
func inKiB(values []float64) string { return spread(scale(values, 1<<10), 1, "KiB") }

func spread(values []float64, digits int, unit string) string {
	switch len(values) {
	case 0:
		return "–"
	case 1:
		return fmt.Sprintf("%.*f %s", digits, values[0], unit)
	}
	return fmt.Sprintf("%.*f %s (%.*f–%.*f)", digits, median(values), unit, digits, slices.Min(values), digits, slices.Max(values))
}

func scale(values []float64, unit float64) []float64 {
	return pick(values, func(v float64) float64 { return v / unit })
}

// ratio shows how many times b is in a.
func ratio(a, b float64) string {
	if b <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f×", a/b)
}

// mib shows bytes in MiB, the unit that memory is budgeted in.
func mib(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

// pick returns one figure of each of several measurements.
func pick[T any](all []T, figure func(T) float64) []float64 {
	values := make([]float64, len(all))
	for i, one := range all {
		values[i] = figure(one)
	}
	return values
}
