#!/usr/bin/env python3
"""Draws the word at twice its size, flips every pixel with probability 0.1, and writes clean.csv and noisy.csv (16 rows
of 44 pixels).

    /usr/bin/python3 models/denoise/make.py
"""
import os
import random

WORD = """
......................
.######..####..######.
.##..##.##..##.##.....
.##..##.##..##.#####..
.######.##..##.##.....
.##.....##..##.##.....
.##......####..######.
......................
"""
HERE = os.path.dirname(os.path.abspath(__file__))
SEED, FLIP = 7, 0.1

rng = random.Random(SEED)
word = [[int(c == "#") for c in row] for row in WORD.split()]
clean = [[word[i // 2][j // 2] for j in range(2 * len(word[0]))] for i in range(2 * len(word))]
noisy = [[pixel ^ (rng.random() < FLIP) for pixel in row] for row in clean]
for name, image in (("clean.csv", clean), ("noisy.csv", noisy)):
    with open(os.path.join(HERE, name), "w", encoding="ascii") as file:
        file.writelines(",".join(str(int(pixel)) for pixel in row) + "\n" for row in image)
print(sum(a != b for x, y in zip(clean, noisy) for a, b in zip(x, y)), "of", len(clean) * len(clean[0]), "pixels flipped")
