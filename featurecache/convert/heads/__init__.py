"""Classifiers of other people's making: a weight and a bias among arrays, in and out."""
