"""Files and protocols: units and time zones are converted here, once, on the way in and out."""
