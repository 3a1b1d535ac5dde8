SELECT light, water, light * water AS lit_water, soil = 'loam' AS is_loam FROM source
