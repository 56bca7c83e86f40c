# SPDX-License-Identifier: MIT
"""Pure Python for the benchmark: python3.11 workload.py ROUNDS. No modules but sys, which is built in."""
import sys


class Shape:
    def __init__(self, width, height):
        self.width, self.height = width, height

    def area(self):
        return self.width * self.height


class Square(Shape):
    def __init__(self, side):
        super().__init__(side, side)


def count_words(seed):
    counts = {}
    for i in range(3000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        word = "word%d" % (seed % 500)
        counts[word] = counts.get(word, 0) + 1
    return sum(n * len(word) for word, n in sorted(counts.items(), key=lambda x: (-x[1], x[0]))[:50])


def solve_queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        yield 1
    for column in range(n):
        bit = 1 << column
        if not (columns & bit or left & 1 << (row + column) or right & 1 << (row - column + n)):
            yield from solve_queens(n, row + 1, columns | bit, left | 1 << (row + column),
                                    right | 1 << (row - column + n))


def shapes():
    return sum(s.area() for s in (Square(i) if i % 3 else Shape(i, 2) for i in range(2000)))


total = 0
for turn in range(int(sys.argv[1])):
    total += count_words(turn) + sum(solve_queens(6)) * 1000 + shapes()
print(total)
