"""Importers of intensity and mix series: one registered function per source, one shape for all."""
