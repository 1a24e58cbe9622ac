// Package typo measures how far a mistyped name is from one that exists. Which
// names are near enough to be offered is for its users to say: names of
// packages and of kernel modules are mistyped differently.
package typo

// Distance is the number of bytes to insert, drop or change to get from a to b
// (Levenshtein).
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
